#!/usr/bin/env python3
"""An independent PaliGemma in plain numpy and double precision, for shapes that the committed goldens do not have.

    numpy-reference.py check            against Hugging Face's goldens in tests/goldens/models
    numpy-reference.py make FOLDER      random checkpoints of other shapes, with goldens, in the layout of that folder

Needs numpy only. `make` takes pictures, prompts and vocabulary from tests/goldens/models; then
`PG_SHAPES=FOLDER cargo test -p pg-tests --test golden` compares. Written from big_vision's description of the model
(image tokens unscaled, prefix fully visible to itself, RMSNorm with 1 + w, tanh GELU), not from the runtime.
"""
import argparse
import json
import pathlib
import shutil
import sys

import numpy as np

MODELS = pathlib.Path(__file__).resolve().parents[1] / "goldens" / "models"
STEPS = 6
TYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "BF16": "<u2"}
# Largest difference to the goldens, in units of their spread, that single precision explains.
ROUNDING = 1e-4

# vision: width, layers, heads, MLP; text: width, layers, query heads, key/value heads, head width, MLP.
# A picture of 56 or 112 pixels may be cut into patches of another size than 14.
SHAPES = {
    "grouped": dict(image=56, patch=14, v=(96, 2, 4, 200), t=(192, 3, 6, 2, 32, 416)),
    "all-heads": dict(image=56, patch=14, v=(64, 2, 4, 128), t=(64, 2, 4, 4, 16, 128)),
    "small-patches": dict(image=56, patch=7, v=(40, 1, 5, 33), t=(72, 2, 3, 1, 8, 97)),
    "one-patch": dict(image=56, patch=56, v=(24, 1, 1, 7), t=(33, 1, 1, 1, 2, 5)),
    "wide": dict(image=112, patch=28, v=(320, 1, 4, 1077), t=(256, 1, 8, 1, 256, 1031)),
}


def read_safetensors(path):
    data = path.read_bytes()
    n = int.from_bytes(data[:8], "little")
    out = {}
    for name, t in json.loads(data[8 : 8 + n]).items():
        if name == "__metadata__":
            continue
        start, end = t["data_offsets"]
        x = np.frombuffer(data[8 + n + start : 8 + n + end], TYPES[t["dtype"]]).reshape(t["shape"])
        out[name] = (x.astype("<u4") << 16).view("<f4") if t["dtype"] == "BF16" else x
    return out


def write_safetensors(path, tensors):
    header, blobs, at = {}, [], 0
    for name, (kind, x) in tensors.items():
        blob = np.ascontiguousarray(x).tobytes()
        header[name] = dict(dtype=kind, shape=list(x.shape), data_offsets=[at, at + len(blob)])
        blobs.append(blob)
        at += len(blob)
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    path.write_bytes(len(head).to_bytes(8, "little") + head + b"".join(blobs))


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def heads(x, n):
    """[tokens, n * d] -> [n, tokens, d]"""
    return x.reshape(len(x), n, -1).swapaxes(0, 1)


def attend(q, k, v, mask=None):
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)
    return (softmax(scores) @ v).swapaxes(0, 1).reshape(q.shape[1], -1)


class PaliGemma:
    def __init__(self, config, weights):
        self.c = config
        self.v, self.t = config["vision_config"], config["text_config"]
        self.w = {name: x.astype(np.float64) for name, x in weights.items()}

    def product(self, name, x):
        """With a matrix whose rows may be kernels."""
        w = self.w[name]
        return x @ w.reshape(len(w), -1).T

    def linear(self, name, x):
        y = self.product(name + ".weight", x)
        return y + self.w[name + ".bias"] if name + ".bias" in self.w else y

    def layer_norm(self, name, x):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)
        return x * self.w[name + ".weight"] + self.w[name + ".bias"]

    def rms_norm(self, name, x):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * (1 + self.w[name + ".weight"])

    def vision(self, pixels):
        tower, n = "vision_tower.vision_model.", self.v["num_attention_heads"]
        p = self.w[tower + "embeddings.patch_embedding.weight"].shape[-1]
        grid = pixels.shape[-1] // p
        patches = pixels.reshape(3, grid, p, grid, p).transpose(1, 3, 0, 2, 4).reshape(grid * grid, -1)
        x = self.linear(tower + "embeddings.patch_embedding", patches)
        x = x + self.w[tower + "embeddings.position_embedding.weight"]
        for i in range(self.v["num_hidden_layers"]):
            layer = f"{tower}encoder.layers.{i}."
            y = self.layer_norm(layer + "layer_norm1", x)
            q, k, v = (heads(self.linear(f"{layer}self_attn.{m}_proj", y), n) for m in "qkv")
            x = x + self.linear(layer + "self_attn.out_proj", attend(q, k, v))
            y = gelu(self.linear(layer + "mlp.fc1", self.layer_norm(layer + "layer_norm2", x)))
            x = x + self.linear(layer + "mlp.fc2", y)
        return self.layer_norm(tower + "post_layernorm", x)

    def embed(self, ids):
        table = self.w["language_model.model.embed_tokens.weight"]
        return table[ids] * np.sqrt(table.shape[1])

    def rope(self, x):
        half = x.shape[-1] // 2
        angle = np.arange(x.shape[1])[:, None] / 10000.0 ** (np.arange(half) / half)
        low, high = x[..., :half], x[..., half:]
        return np.concatenate(
            [low * np.cos(angle) - high * np.sin(angle), high * np.cos(angle) + low * np.sin(angle)], -1
        )

    def decoder(self, x, n_prefix):
        """Inputs of all layers and the normed output; positions from n_prefix on see only what is before them."""
        at = np.arange(len(x))
        mask = (at[None, :] < n_prefix) | (at[None, :] <= at[:, None])
        n, n_kv = self.t["num_attention_heads"], self.t["num_key_value_heads"]
        seen = []
        for i in range(self.t["num_hidden_layers"]):
            seen.append(x)
            layer = f"language_model.model.layers.{i}."
            y = self.rms_norm(layer + "input_layernorm", x)
            q, k, v = (self.linear(f"{layer}self_attn.{m}_proj", y) for m in "qkv")
            q, k, v = self.rope(heads(q, n)), self.rope(heads(k, n_kv)), heads(v, n_kv)
            k, v = np.repeat(k, n // n_kv, 0), np.repeat(v, n // n_kv, 0)
            x = x + self.linear(layer + "self_attn.o_proj", attend(q, k, v, mask))
            y = self.rms_norm(layer + "post_attention_layernorm", x)
            y = gelu(self.linear(layer + "mlp.gate_proj", y)) * self.linear(layer + "mlp.up_proj", y)
            x = x + self.linear(layer + "mlp.down_proj", y)
        return seen + [self.rms_norm("language_model.model.norm", x)]

    def run(self, pixels, text_ids, steps, forced=None):
        """Everything a golden holds. Greedy unless tokens are forced; the whole sequence again for every token."""
        hidden = self.vision(pixels.astype(np.float64))
        features = self.linear("multi_modal_projector.linear", hidden)
        x = np.concatenate([features, self.embed(text_ids)])
        n_prefix = len(x)
        out = dict(vision_last_hidden=hidden, image_features=features)
        logits, generated = [], []
        for step in range(steps):
            layers = self.decoder(x, n_prefix)
            if step == 0:
                out |= {f"hidden.{i}": h for i, h in enumerate(layers)}
            logits.append(self.product("language_model.model.embed_tokens.weight", layers[-1][-1]))
            best = int(logits[-1][: self.c["image_token_index"]].argmax())
            generated.append(best if forced is None else int(forced[step]))
            x = np.concatenate([x, self.embed([generated[-1]])])
        return out | dict(step_logits=np.stack(logits)), generated


def committed_cases():
    for model in ["tiny-a", "tiny-b"]:
        for case in json.loads((MODELS / model / "goldens" / "goldens.json").read_text())["cases"]:
            yield model, case, read_safetensors(MODELS / model / "goldens" / case["file"])


def check():
    for model, case, golden in committed_cases():
        folder = MODELS / model / "checkpoint"
        ours = PaliGemma(json.loads((folder / "config.json").read_text()), read_safetensors(folder / "model.safetensors"))
        n_image = len(golden["image_features"])
        forced = case["generated"]
        found, _ = ours.run(golden["pixel_values"], golden["input_ids"][n_image:], len(forced), forced)
        worst = {name: np.abs(x - golden[name]).max() / golden[name].std() for name, x in found.items()}
        name = max(worst, key=worst.get)
        print(f"{model}, {case['image']}, \"{case['prompt']}\": worst {worst[name]:.1e} of the spread, in {name}")
        if not worst[name] <= ROUNDING:
            sys.exit("this reference is not Hugging Face's function")


def bf16(x):
    """The nearest bfloat16 values, as their bits."""
    bits = x.astype("<f4").view("<u4")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def random_checkpoint(shape, seed, n_rows, image_token):
    r = np.random.default_rng(seed)
    (vd, vl, vh, vf), (td, tl, th, tk, hd, tf) = shape["v"], shape["t"]
    patches = (shape["image"] // shape["patch"]) ** 2
    weights = {}

    def linear(name, out, into, bias):
        weights[name + ".weight"] = r.standard_normal((out, into)) * 1.5 / np.sqrt(into)
        if bias:
            weights[name + ".bias"] = r.standard_normal(out) * 0.2

    def layer_norm(name):
        weights[name + ".weight"] = 1 + 0.2 * r.standard_normal(vd)
        weights[name + ".bias"] = 0.2 * r.standard_normal(vd)

    tower = "vision_tower.vision_model."
    linear(tower + "embeddings.patch_embedding", vd, 3 * shape["patch"] ** 2, True)
    kernel = tower + "embeddings.patch_embedding.weight"
    weights[kernel] = weights[kernel].reshape(vd, 3, shape["patch"], shape["patch"])
    weights[tower + "embeddings.position_embedding.weight"] = 0.5 * r.standard_normal((patches, vd))
    for i in range(vl):
        layer = f"{tower}encoder.layers.{i}."
        layer_norm(layer + "layer_norm1")
        layer_norm(layer + "layer_norm2")
        for m in ["q_proj", "k_proj", "v_proj", "out_proj"]:
            linear(layer + "self_attn." + m, vd, vd, True)
        linear(layer + "mlp.fc1", vf, vd, True)
        linear(layer + "mlp.fc2", vd, vf, True)
    layer_norm(tower + "post_layernorm")
    linear("multi_modal_projector.linear", td, vd, True)

    text = "language_model.model."
    weights[text + "embed_tokens.weight"] = r.standard_normal((n_rows, td)) / np.sqrt(td)
    for i in range(tl):
        layer = f"{text}layers.{i}."
        for norm in ["input_layernorm", "post_attention_layernorm"]:
            weights[f"{layer}{norm}.weight"] = 0.3 * r.standard_normal(td)
        linear(layer + "self_attn.q_proj", th * hd, td, False)
        linear(layer + "self_attn.k_proj", tk * hd, td, False)
        linear(layer + "self_attn.v_proj", tk * hd, td, False)
        linear(layer + "self_attn.o_proj", td, th * hd, False)
        linear(layer + "mlp.gate_proj", tf, td, False)
        linear(layer + "mlp.up_proj", tf, td, False)
        linear(layer + "mlp.down_proj", td, tf, False)
    # Both signs: else a random model with a tied head repeats its last token for ever.
    weights[text + "norm.weight"] = 2 * r.standard_normal(td) - 1
    config = dict(
        model_type="paligemma",
        image_token_index=image_token,
        text_config=dict(
            model_type="gemma", hidden_size=td, num_hidden_layers=tl, num_attention_heads=th, num_key_value_heads=tk,
            head_dim=hd, intermediate_size=tf, vocab_size=n_rows,
        ),
        vision_config=dict(
            model_type="siglip_vision_model", image_size=shape["image"], patch_size=shape["patch"], hidden_size=vd,
            num_hidden_layers=vl, num_attention_heads=vh, intermediate_size=vf,
        ),
    )
    return config, weights


def make(root):
    prompts = list(committed_cases())
    shutil.copytree(MODELS / "pictures", root / "pictures", dirs_exist_ok=True)
    for seed, (name, shape) in enumerate(SHAPES.items()):
        checkpoint, goldens = root / name / "checkpoint", root / name / "goldens"
        checkpoint.mkdir(parents=True, exist_ok=True)
        goldens.mkdir(exist_ok=True)
        source = MODELS / "tiny-a" / "checkpoint"
        image_token = json.loads((source / "config.json").read_text())["image_token_index"]
        config, weights = random_checkpoint(shape, seed, image_token + 2, image_token)
        stored = {key: ("BF16", bf16(x)) for key, x in weights.items()}
        (checkpoint / "config.json").write_text(json.dumps(config))
        write_safetensors(checkpoint / "model.safetensors", stored)
        shutil.copy(source / "tokenizer.model", checkpoint)
        model = PaliGemma(config, {key: (x.astype("<u4") << 16).view("<f4") for key, (_, x) in stored.items()})
        cases = []
        for i, (_, case, golden) in enumerate(prompts):
            if golden["pixel_values"].shape[-1] != shape["image"]:
                continue
            text_ids = golden["input_ids"][len(golden["image_features"]) :]
            found, generated = model.run(golden["pixel_values"], text_ids, STEPS)
            n_image = len(found["image_features"])
            top = np.sort(found["step_logits"][:, :image_token])
            ids = np.concatenate([np.full(n_image, image_token), text_ids]).astype("<i8")
            tensors = {key: ("F32", x.astype("<f4")) for key, x in found.items()}
            tensors |= dict(pixel_values=("F32", golden["pixel_values"]), input_ids=("I64", ids))
            write_safetensors(goldens / f"{i}.safetensors", tensors)
            margin = (top[:, -1] - top[:, -2]).tolist()
            cases.append(dict(image=case["image"], prompt=case["prompt"], file=f"{i}.safetensors", generated=generated, margin=margin))
        (goldens / "goldens.json").write_text(json.dumps(dict(model=name, cases=cases)))
        print(f"{name}: {len(cases)} cases, smallest margin {min(min(c['margin']) for c in cases):.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check")
    commands.add_parser("make").add_argument("folder", type=pathlib.Path)
    arguments = parser.parse_args()
    check() if arguments.command == "check" else make(arguments.folder)


if __name__ == "__main__":
    main()
