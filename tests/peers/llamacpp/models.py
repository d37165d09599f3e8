"""Random GGUF files of PaliGemma's shape for llama.cpp: the decoder, and the vision tower as clip loads it.

Used by ../llamacpp.py; needs gguf and numpy. Speed does not depend on the weights' values, so they are random bits with one
scale a tensor, chosen so that activations stay finite through all layers.
"""
import os

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGUFWriter

VOCABULARY = 257216
WIDTH, LAYERS, FFN, HEADS, HEAD_WIDTH = 2048, 18, 16384, 8, 256
V_WIDTH, V_LAYERS, V_FFN, V_HEADS, V_PATCHES, PATCH = 1152, 27, 4304, 16, 256, 14
BLOCK = 32
# Bytes after the f16 scale of a block, and the spread of what they stand for when they are random.
BLOCKS = {Type.Q4_0: (16, 4.6), Type.Q8_0: (32, 73.0)}

# llama.cpp stores quantized rows in blocks of 32 and 4304 is none: such a tensor stays f16, or rows are padded.
VISION_VARIANTS = {
    "f16": (Type.F16, V_FFN),
    "q8_0, ffn_down f16": (Type.Q8_0, V_FFN),
    "q8_0, padded to 4320": (Type.Q8_0, 4320),
    "q4_0, padded to 4320": (Type.Q4_0, 4320),
}


def size(kind, shape):
    n = int(np.prod(shape))
    return n // BLOCK * (2 + BLOCKS[kind][0]) if kind in BLOCKS else n * {Type.F16: 2, Type.F32: 4}[kind]


def random_data(kind, shape, r):
    """A matrix whose products keep the spread of what they are multiplied with."""
    n, spread = int(np.prod(shape)), 1 / np.sqrt(np.prod(shape[1:]))
    if kind in BLOCKS:
        payload, unscaled = BLOCKS[kind]
        rows = np.empty((n // BLOCK, 2 + payload), np.uint8)
        rows[:, :2] = np.array([spread / unscaled], "<f2").view(np.uint8)
        rows[:, 2:] = np.frombuffer(r.bytes(len(rows) * payload), np.uint8).reshape(-1, payload)
        if kind == Type.Q8_0:
            rows[:, 2:][rows[:, 2:] == 0x80] = 0  # no quantizer writes -128
        return rows
    return ((r.random(n, np.float32) - 0.5) * (spread * np.sqrt(12))).astype("<f2" if kind == Type.F16 else "<f4")


def write(path, writer, tensors, seed=1):
    """tensors: (name, type, shape with rows first, constant or None for random). Nothing half-written keeps the name."""
    r = np.random.default_rng(seed)
    for name, kind, shape, _ in tensors:
        writer.add_tensor_info(name, shape, np.dtype(np.float32), size(kind, shape), raw_dtype=kind)
    partial = path.with_name(path.name + ".partial")
    writer.write_header_to_file(partial)
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for _, kind, shape, constant in tensors:
        data = random_data(kind, shape, r) if constant is None else np.full(int(np.prod(shape)), constant, "<f4")
        writer.write_tensor_data(data)
    writer.close()
    os.replace(partial, path)


def write_decoder(path):
    writer = GGUFWriter(None, "gemma")
    writer.add_context_length(8192)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(1)
    writer.add_key_length(HEAD_WIDTH)
    writer.add_value_length(HEAD_WIDTH)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(VOCABULARY)
    # Tokens are numbers here; a quarter of a million names would only make loading slower.
    writer.add_tokenizer_model("none")
    tensors = [("token_embd.weight", Type.Q4_0, (VOCABULARY, WIDTH), None)]
    for i in range(LAYERS):
        tensors += [
            (f"blk.{i}.attn_norm.weight", Type.F32, (WIDTH,), 1),
            (f"blk.{i}.attn_q.weight", Type.Q4_0, (HEADS * HEAD_WIDTH, WIDTH), None),
            (f"blk.{i}.attn_k.weight", Type.Q4_0, (HEAD_WIDTH, WIDTH), None),
            (f"blk.{i}.attn_v.weight", Type.Q4_0, (HEAD_WIDTH, WIDTH), None),
            (f"blk.{i}.attn_output.weight", Type.Q4_0, (WIDTH, HEADS * HEAD_WIDTH), None),
            (f"blk.{i}.ffn_norm.weight", Type.F32, (WIDTH,), 1),
            (f"blk.{i}.ffn_gate.weight", Type.Q4_0, (FFN, WIDTH), None),
            (f"blk.{i}.ffn_up.weight", Type.Q4_0, (FFN, WIDTH), None),
            (f"blk.{i}.ffn_down.weight", Type.Q4_0, (WIDTH, FFN), None),
        ]
    write(path, writer, tensors + [("output_norm.weight", Type.F32, (WIDTH,), 1)])


def write_vision(path, kind, ffn):
    """SigLIP-So400m/14 at 224 pixels behind gemma3's projector, whose pooling is told to merge nothing."""
    writer = GGUFWriter(None, "clip")
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type("gemma3")
    writer.add_vision_projection_dim(WIDTH)
    writer.add_vision_image_size(224)
    writer.add_vision_patch_size(PATCH)
    writer.add_vision_embedding_length(V_WIDTH)
    writer.add_vision_feed_forward_length(ffn)
    writer.add_vision_block_count(V_LAYERS)
    writer.add_vision_head_count(V_HEADS)
    writer.add_vision_attention_layernorm_eps(1e-6)
    writer.add_vision_image_mean([0.5] * 3)
    writer.add_vision_image_std([0.5] * 3)
    writer.add_vision_use_gelu(True)
    writer.add_vision_projector_scale_factor(1)

    def linear(name, out, into):
        stored = kind if into % BLOCK == 0 else Type.F16
        return [(name + ".weight", stored, (out, into), None), (name + ".bias", Type.F32, (out,), 0)]

    def norm(name):
        return [(name + ".weight", Type.F32, (V_WIDTH,), 1), (name + ".bias", Type.F32, (V_WIDTH,), 0)]

    # As llama.cpp's converter stores them: the patch kernel and positions in f32, the projection in f16.
    tensors = [
        ("v.patch_embd.weight", Type.F32, (V_WIDTH, 3, PATCH, PATCH), None),
        ("v.patch_embd.bias", Type.F32, (V_WIDTH,), 0),
        ("v.position_embd.weight", Type.F32, (V_PATCHES, V_WIDTH), None),
    ]
    for i in range(V_LAYERS):
        tensors += norm(f"v.blk.{i}.ln1") + norm(f"v.blk.{i}.ln2")
        for part in ["attn_q", "attn_k", "attn_v", "attn_out"]:
            tensors += linear(f"v.blk.{i}.{part}", V_WIDTH, V_WIDTH)
        tensors += linear(f"v.blk.{i}.ffn_up", ffn, V_WIDTH) + linear(f"v.blk.{i}.ffn_down", V_WIDTH, ffn)
    tensors += norm("v.post_ln") + [
        ("mm.soft_emb_norm.weight", Type.F32, (V_WIDTH,), 1),
        ("mm.input_projection.weight", Type.F16, (V_WIDTH, WIDTH), None),
    ]
    write(path, writer, tensors)
