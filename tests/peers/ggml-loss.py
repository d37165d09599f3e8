#!/usr/bin/env python3
"""What our integers cost a model, against ggml's at no more bits.

    ggml-loss.py --checkpoint FOLDER --q4 FILE.gguf --q8 FILE.gguf --cases cases.safetensors [--recipes]

Needs: pip install gguf numpy. The independent forward pass of numpy-reference.py runs every case with the checkpoint's
weights, with those of our files (expanded by gguf-reader.py) and with what the package `gguf` makes of the same matrices:
Q4_0 where our q4 file has 4 bits, Q8_0 elsewhere. Prints the mean Kullback-Leibler divergence from the checkpoint's own
scores, in thousandths of a nat, and exits 1 if ours is not at most ggml's.
  cases.safetensors: for case i `i.pixel_values`, `i.text_ids`, `i.forced` (the tokens fed, whatever the scores say) and
    the scores before each of them in real runs of f32, q4 and q8 files, `i.f32`, `i.q4`, `i.q8`
  bits: of a weight of all matrices, without what fills up groups of rows and cache lines
  error: of the weights, root mean square over all matrices, of that of the weights
  weights: the divergence if nothing else is quantized
  products: with activations in blocks of 32 as ggml's Q8_0 in front of each product, on both sides
  run: a real run of our file
--recipes: also what other formats of some parts and wider blocks of activations would cost
"""
import argparse
import importlib.util
import json
import os
import pathlib
import sys

# The matrices are small: threads would wait for each other, which on a busy machine takes minutes.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, dequantize, quantize

TABLE = "language_model.model.embed_tokens.weight"


def peer(name):
    path = pathlib.Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(name.replace("-", "_"), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference, reader = peer("numpy-reference"), peer("gguf-reader")


class Quantized(reference.PaliGemma):
    """Rounds activations in front of each product; `blocks` blocks of 32 share a scale, none: exact."""

    blocks = 0

    def product(self, name, x):
        if self.blocks:
            size = 32 * self.blocks
            padded = np.zeros((*x.shape[:-1], -(-x.shape[-1] // size) * size))
            padded[..., : x.shape[-1]] = x
            parts = padded.reshape(-1, size)
            scale = np.abs(parts).max(-1, keepdims=True) / 127
            parts = np.rint(np.divide(parts, scale, out=np.zeros_like(parts), where=scale > 0)) * scale
            x = parts.reshape(padded.shape)[..., : x.shape[-1]]
        return super().product(name, x)

    def scores(self, case):
        """Before each of the forced tokens, in one pass: later tokens see what is before them."""
        features = self.linear("multi_modal_projector.linear", self.vision(case["pixel_values"].astype(np.float64)))
        prefix = np.concatenate([features, self.embed(case["text_ids"])])
        x = np.concatenate([prefix, self.embed(case["forced"][:-1])])
        hidden = self.decoder(x, len(prefix))[-1][len(prefix) - 1 :]
        return self.product(TABLE, hidden)[:, : self.c["image_token_index"]]


def ours(path, weights):
    """{matrix: (kind, values)} of a packed file, with the checkpoint's names and shapes."""
    file = GGUFReader(path)
    expected = reader.expected_tensors(lambda key: file.fields[f"paligemma.{key}"].contents())
    found = {}
    for tensor, (name, theirs, shape) in zip(file.tensors, expected):
        kind, values = reader.expand(tensor)
        if kind.startswith("Q"):
            whole = weights[theirs].copy()
            whole[: shape[0]] = values[: shape[0], : shape[1]].reshape(shape[0], *whole.shape[1:])
            found[theirs] = (kind, whole)
    return found


def ggml(kinds, weights):
    """The same matrices through the package's quantizer, in rows filled up with zeros."""
    found = {}
    for name, kind in kinds.items():
        w = weights[name].reshape(len(weights[name]), -1)
        padded = np.zeros((len(w), -(-w.shape[1] // 32) * 32), np.float32)
        padded[:, : w.shape[1]] = w
        kind_of = GGMLQuantizationType.Q4_0 if kind == "Q4" else GGMLQuantizationType.Q8_0
        padded = dequantize(quantize(padded, kind_of), kind_of)
        found[name] = (kind, padded[:, : w.shape[1]].reshape(weights[name].shape))
    return found


def bits(matrices, of_q4_row):
    """Of a weight on average; `of_q4_row`: what a row of so many blocks has besides its values."""
    total = n = 0
    for kind, w in matrices.values():
        blocks = -(-w[0].size // 32)
        total += len(w) * (blocks * 128 + of_q4_row(blocks) if kind == "Q4" else blocks * 272)
        n += w.size
    return total / n


def error(matrices, weights):
    lost = sum(((w.astype(np.float64) - weights[name]) ** 2).sum() for name, (_, w) in matrices.items())
    return np.sqrt(lost / sum((weights[name].astype(np.float64) ** 2).sum() for name in matrices))


def log_softmax(x):
    x = x.astype(np.float64)
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def divergence(true, found):
    """Of each position."""
    p, q = log_softmax(true), log_softmax(found)
    return (np.exp(p) * (p - q)).sum(-1)


def read_cases(path):
    cases = {}
    for name, x in reference.read_safetensors(path).items():
        number, what = name.split(".")
        cases.setdefault(int(number), {})[what] = x
    return [cases[number] for number in sorted(cases)]


class Loss:
    def __init__(self, folder, cases):
        self.config = json.loads((folder / "config.json").read_text())
        self.weights = reference.read_safetensors(folder / "model.safetensors")
        self.cases = cases
        self.true = self.scores({}, 0)

    def scores(self, matrices, blocks):
        model = Quantized(self.config, self.weights | {name: w for name, (_, w) in matrices.items()})
        model.blocks = blocks
        return [model.scores(case) for case in self.cases]

    def of(self, scores):
        return 1000 * np.mean(np.concatenate([divergence(t, s) for t, s in zip(self.true, scores)]))

    def of_run(self, what):
        return self.of([case[what] for case in self.cases])


def recipes(loss, q4, q8):
    tables = {TABLE: q8[TABLE]}
    tower = {name: m for name, m in q8.items() if name.startswith("vision_tower.")}
    print("recipe                        weights  products")
    for what, changes in [
        ("all in q4", {}),
        ("token table in q8", tables),
        ("vision tower in q8", tower),
        ("both in q8", tables | tower),
        ("all in q8", q8),
    ]:
        matrices = q4 | changes
        print(f"{what:28} {loss.of(loss.scores(matrices, 0)):8.3f} {loss.of(loss.scores(matrices, 1)):9.3f}")
    print("blocks that share a scale     q4 products  q8 products  products alone")
    for blocks in [1, 2, 4, 8]:
        found = [loss.of(loss.scores(matrices, blocks)) for matrices in (q4, q8, {})]
        print(f"{blocks:<28}" + "".join(f"{x:13.3f}" for x in found))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ["checkpoint", "q4", "q8", "cases"]:
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    parser.add_argument("--recipes", action="store_true")
    args = parser.parse_args()
    loss = Loss(args.checkpoint, read_cases(args.cases))
    n = sum(len(true) for true in loss.true)
    print(f"{len(loss.cases)} cases, {n} positions; a run of the f32 file is off by {loss.of_run('f32'):.1e}")
    failures = [] if loss.of_run("f32") < 1e-4 else ["this reference is not the runtime's function"]
    packed = {what: ours(getattr(args, what), loss.weights) for what in ["q4", "q8"]}
    print("            bits    error  weights  products      run")
    for what, matrices in packed.items():
        theirs = ggml({name: kind for name, (kind, _) in matrices.items()}, loss.weights)
        found = {}
        for who, matrices, row, run in [
            (what, matrices, lambda blocks: 32 + 8 * blocks, f"{loss.of_run(what):8.3f}"),
            (f"ggml's {what}", theirs, lambda blocks: 16 * blocks, ""),
        ]:
            columns = [bits(matrices, row), error(matrices, loss.weights)]
            columns += [loss.of(loss.scores(matrices, blocks)) for blocks in [0, 1]]
            print("{:10} {:6.3f} {:8.5f} {:8.3f} {:9.3f} {}".format(who, *columns, run))
            found[who] = columns
        for column, a, b in zip(["bits", "error", "weights", "products"], *found.values()):
            if a > b:
                failures.append(f"{what}, {column}: {a} is more than ggml's {b}")
    if args.recipes:
        recipes(loss, packed["q4"], packed["q8"])
    for failure in failures:
        print(f"failed: {failure}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
