#!/usr/bin/env python3
"""Reads packed model files with the `gguf` package and checks them against what they were made from.

    gguf-reader.py FILE.gguf ... [--source model.safetensors] [--expanded weights.safetensors]

Needs: pip install gguf numpy. Prints one line per file; exits 1 on the first mismatch. For every file:
  names and shapes are exactly those of a PaliGemma of the sizes in the metadata, in the order of their use
  data starts at multiples of 64 bytes; vocabulary lists have one entry per row of the token table
  no value is NaN or infinite after expansion, which SPEC.md is read for here once more: gguf sees tiles as bytes
--source: one-file checkpoint. f32 and norms are equal; f16 is the nearest; a q8 value is off by half a step of its
  block at most, 120 of which reach the largest magnitude; no q8 matrix and no q4 row is worse than plain rounding
  (largest magnitude to 127 or -8, scale in f16) would be
--expanded: the runtime's own expansion of the same file (f32, by tensor name), equal to this one's to the bit
"""
import argparse
import json
import sys

import numpy as np
from gguf import GGUFReader


def fail(message):
    print(f"mismatch: {message}")
    sys.exit(1)


def check(condition, message):
    if not condition:
        fail(message)


def read_safetensors(path):
    data = np.memmap(path, dtype=np.uint8, mode="r")
    n = int(np.frombuffer(data[:8].tobytes(), "<u8")[0])
    tensors = {}
    for name, t in json.loads(data[8 : 8 + n].tobytes()).items():
        if name == "__metadata__":
            continue
        start, end = t["data_offsets"]
        raw = data[8 + n + start : 8 + n + end].tobytes()
        if t["dtype"] == "BF16":
            values = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            values = np.frombuffer(raw, {"F32": "<f4", "F16": "<f2"}[t["dtype"]]).astype(np.float32)
        tensors[name] = values.reshape(t["shape"])
    return tensors


def expected_tensors(size):
    """(name, name in the checkpoint, [rows, k] or [n]) of every tensor, from the sizes alone."""
    d, ff = size("embedding_length"), size("feed_forward_length")
    head, n_heads, n_kv = size("attention.key_length"), size("attention.head_count"), size("attention.head_count_kv")
    vd, vff, patch = size("vision.embedding_length"), size("vision.feed_forward_length"), size("vision.patch_size")
    tower, decoder = "vision_tower.vision_model.", "language_model.model."

    def pair(ours, theirs, shape):
        yield f"{ours}.weight", f"{theirs}.weight", shape
        yield f"{ours}.bias", f"{theirs}.bias", shape[:1]

    yield from pair("v.patch_embd", f"{tower}embeddings.patch_embedding", [vd, 3 * patch * patch])
    n_patches = (size("vision.image_size") // patch) ** 2
    yield "v.position_embd.weight", f"{tower}embeddings.position_embedding.weight", [n_patches, vd]
    for i in range(size("vision.block_count")):
        ours, theirs = f"v.blk.{i}.", f"{tower}encoder.layers.{i}."
        yield from pair(ours + "ln1", theirs + "layer_norm1", [vd])
        for a, b in [("attn_q", "q_proj"), ("attn_k", "k_proj"), ("attn_v", "v_proj"), ("attn_out", "out_proj")]:
            yield from pair(ours + a, f"{theirs}self_attn.{b}", [vd, vd])
        yield from pair(ours + "ln2", theirs + "layer_norm2", [vd])
        yield from pair(ours + "ffn_up", theirs + "mlp.fc1", [vff, vd])
        yield from pair(ours + "ffn_down", theirs + "mlp.fc2", [vd, vff])
    yield from pair("v.post_ln", f"{tower}post_layernorm", [vd])
    yield from pair("mm.input_projection", "multi_modal_projector.linear", [d, vd])
    yield "token_embd.weight", f"{decoder}embed_tokens.weight", [size("vocab_size"), d]
    for i in range(size("block_count")):
        ours, theirs = f"blk.{i}.", f"{decoder}layers.{i}."
        for a, b, shape in [
            ("attn_norm", "input_layernorm", [d]),
            ("attn_q", "self_attn.q_proj", [n_heads * head, d]),
            ("attn_k", "self_attn.k_proj", [n_kv * head, d]),
            ("attn_v", "self_attn.v_proj", [n_kv * head, d]),
            ("attn_output", "self_attn.o_proj", [d, n_heads * head]),
            ("ffn_norm", "post_attention_layernorm", [d]),
            ("ffn_gate", "mlp.gate_proj", [ff, d]),
            ("ffn_up", "mlp.up_proj", [ff, d]),
            ("ffn_down", "mlp.down_proj", [d, ff]),
        ]:
            yield f"{ours}{a}.weight", f"{theirs}{b}.weight", shape
    yield "output_norm.weight", f"{decoder}norm.weight", [d]


def expand(tensor):
    """(format, values with their padding) of a tensor: groups of 8 rows in tiles of 32 weights, or floats as they are."""
    kind = tensor.tensor_type.name
    if kind != "I8":
        return kind, np.asarray(tensor.data, dtype=np.float32)
    data = np.asarray(tensor.data).view(np.uint8)
    if data.ndim == 3:
        groups, tiles, size = data.shape
        check(size == 272, f"{tensor.name}: tiles of {size} bytes")
        scales = np.ascontiguousarray(data[..., :16]).view("<f2").astype(np.float32)
        # (group, tile, chunk, row, place in the run)
        q = data[..., 16:].reshape(groups, tiles, 8, 8, 4).view(np.int8)
        kind = "Q8"
    else:
        groups, size = data.shape
        tiles = (size - 32) // 136
        head = -(-(32 + 8 * tiles) // 64) * 64
        check(size == head + 128 * tiles, f"{tensor.name}: groups of {size} bytes")
        check(not data[:, 32 + 8 * tiles : head].any(), f"{tensor.name}: the steps are not followed by zeros")
        rows = np.ascontiguousarray(data[:, :32]).view("<f4")
        steps = data[:, 32 : 32 + 8 * tiles].view(np.int8).reshape(groups, tiles, 8)
        scales = rows[:, None, :] * steps.astype(np.float32)
        nibbles = data[:, head:].reshape(groups, tiles, 4, 8, 4)
        q = np.concatenate([nibbles & 15, nibbles >> 4], axis=2).astype(np.int8) - 8
        kind = "Q4"
    values = q.astype(np.float32) * scales[:, :, None, :, None]
    return kind, values.transpose(0, 3, 1, 2, 4).reshape(groups * 8, tiles * 32)


def compare_with_source(name, kind, values, padded, source):
    """`padded` holds whole blocks, `values` and `source` the same rows without padding."""
    if kind == "F32":
        check(np.array_equal(values, source), f"{name} differs from the checkpoint")
        return
    if kind == "F16":
        check(np.array_equal(values, source.astype(np.float16).astype(np.float32)), f"{name}: not the nearest f16")
        return
    k = source.shape[-1]
    check(not padded[:, k:].any(), f"{name}: padding is not zero")
    blocks = np.zeros_like(padded)
    blocks[:, :k] = source
    blocks, found = blocks.reshape(-1, 32).astype(np.float64), padded.reshape(-1, 32).astype(np.float64)
    extreme = blocks[np.arange(len(blocks)), np.abs(blocks).argmax(1)][:, None]

    def plain(scale, least, most):
        scale = scale.astype(np.float16).astype(np.float64)
        q = np.rint(np.divide(blocks, scale, out=np.zeros_like(blocks), where=scale != 0))
        return np.clip(q, least, most) * scale

    def lost(x):
        return ((blocks - x) ** 2).reshape(len(padded), -1).sum(1)

    if kind == "Q8":
        step = np.abs(extreme) / 120 * (1 + 2**-10) + 1e-7
        check((np.abs(found - blocks) <= step / 2).all(), f"{name}: a value is off by more than half a step")
        better = lost(found).sum() <= lost(plain(np.abs(extreme) / 127, -127, 127)).sum()
        check(better, f"{name} is worse than by plain rounding")
    elif kind == "Q4":
        better = lost(found) <= lost(plain(extreme / -8, -8, 7)) + 1e-12
        check(better.all(), f"{name}: a row is worse than by plain rounding")
    else:
        fail(f"{name} has the type {kind}")


def check_file(path, source, expanded):
    reader = GGUFReader(path)

    def field(key):
        check(key in reader.fields, f"{path}: no metadata key {key}")
        return reader.fields[key].contents()

    check(field("general.architecture") == "paligemma", f"{path}: architecture")
    expected = list(expected_tensors(lambda key: field(f"paligemma.{key}")))
    names = [t.name for t in reader.tensors]
    check(names == [e[0] for e in expected], f"{path}: tensors {set(names) ^ {e[0] for e in expected}} or their order")
    for key in ["tokens", "scores", "token_type"]:
        n = len(field(f"tokenizer.ggml.{key}"))
        check(n == field("paligemma.vocab_size"), f"{path}: {n} {key}")

    kinds = {}
    for tensor, (name, theirs, shape) in zip(reader.tensors, expected):
        kind, padded = expand(tensor)
        kinds[kind] = kinds.get(kind, 0) + 1
        check(tensor.data_offset % 64 == 0, f"{name} starts at byte {tensor.data_offset}")
        k = shape[-1]
        whole = -(-k // 32) * 32 if kind.startswith("Q") else k
        rows = [-(-n // 8) * 8 if kind.startswith("Q") else n for n in shape[:-1]]
        check(list(padded.shape) == rows + [whole], f"{name} has the shape {padded.shape}, expected {shape}")
        check(np.isfinite(padded).all(), f"{name} holds values that are not finite")
        if rows:
            check(not padded[shape[0] :].any(), f"{name}: the rows that fill up the last tile are not zero")
            padded = padded[: shape[0]]
        values = padded[..., :k]
        if expanded is not None:
            check(name in expanded, f"{name} was not expanded")
            same = values.tobytes() == expanded[name].tobytes() and list(expanded[name].shape) == shape
            check(same, f"{name}: the runtime's expansion differs")
        if source is not None:
            original = source[theirs].reshape(len(source[theirs]), -1) if len(shape) == 2 else source[theirs]
            original = original[: shape[0]]
            if "norm" in name.split(".")[-2] and not name.startswith("v."):
                original = original + np.float32(1)
            compare_with_source(name, kind, values, padded, original)
    types = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
    against = [what for what, given in [("source", source), ("expansion", expanded)] if given is not None]
    print(f"ok {path}: {len(expected)} tensors ({types}), compared with {' and '.join(against) or 'nothing else'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", metavar="FILE.gguf")
    parser.add_argument("--source", help="one-file checkpoint with the hub's tensor names")
    parser.add_argument("--expanded", help="the same weights as f32, by the model file's tensor names")
    args = parser.parse_args()
    source = read_safetensors(args.source) if args.source else None
    expanded = read_safetensors(args.expanded) if args.expanded else None
    for path in args.files:
        check_file(path, source, expanded)


if __name__ == "__main__":
    main()
