"""Makes the small set of model goldens here out of the full one.

python trim.py FULL            (needs numpy, pillow, safetensors)

FULL holds pictures/*.png and, per model, checkpoint/ and goldens/ with all cases, stages and steps. Kept are the
cases below, the first steps of each, and of the checkpoints what packing reads. Tensors that others repeat go.
Pictures but one are stored as the model sees them: preprocessing passes a picture of its own size through.
"""
import json, shutil, sys
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import load_file, save_file

STEPS = 4
# Picture, prompt, and whether the picture is kept at its full size.
CASES = {
    "tiny-a": [("chelsea.png", "detect cat ; dog", True), ("astronaut.png", "answer en what is this?", False),
               ("rocket.png", "", False)],
    "tiny-b": [("chelsea.png", "caption en", True), ("rocket.png", "detect cat ; dog", False)],
}


def picture(full, here, name, size, keep, expected):
    """Stores the picture, checked against the golden pixels; returns its name here."""
    source = Image.open(full / "pictures" / name).convert("RGB")
    small = source.resize((size, size), Image.Resampling.BICUBIC)
    # The values are multiples of 1/127.5 less 1, in f32.
    seen = np.rint((expected.astype(np.float64) + 1) * 127.5).astype(np.uint8).transpose(1, 2, 0)
    assert (np.asarray(small) == seen).all(), name
    (here / "pictures").mkdir(exist_ok=True)
    if keep:
        shutil.copyfile(full / "pictures" / name, here / "pictures" / name)
        return name
    name = f"{name.removesuffix('.png')}-{size}.png"
    small.save(here / "pictures" / name, optimize=True)
    return name


def trim(full, here, model, wanted):
    size = json.loads((full / model / "tiny.json").read_text())["res"]
    for kind in ("checkpoint", "goldens"):
        (here / model / kind).mkdir(parents=True, exist_ok=True)
    for file in ("config.json", "model.safetensors", "tokenizer.model"):
        shutil.copyfile(full / model / "checkpoint" / file, here / model / "checkpoint" / file)
    listed = json.loads((full / model / "goldens/goldens.json").read_text())["cases"]
    cases = []
    for image, prompt, keep in wanted:
        case = next(c for c in listed if (c["image"], c["prompt"]) == (image, prompt))
        tensors = load_file(full / model / "goldens" / case["file"])
        assert np.abs(tensors["prefill_logits"] - tensors["step_logits"][0]).max() < 1e-4
        # Read from goldens.json, or the first row of step_logits.
        del tensors["generated"], tensors["prefill_logits"]
        tensors["step_logits"] = tensors["step_logits"][:STEPS].copy()
        name = picture(full, here, image, size, keep, tensors["pixel_values"])
        save_file(tensors, here / model / "goldens" / case["file"])
        cases.append({"image": name, "prompt": prompt, "file": case["file"],
                      "generated": case["generated"][:STEPS], "margin": case["margin"][:STEPS]})
    text = json.dumps({"model": model, "dtype": "f32", "cases": cases}, indent=1)
    (here / model / "goldens/goldens.json").write_text(text + "\n")


if __name__ == "__main__":
    for model, wanted in CASES.items():
        trim(Path(sys.argv[1]), Path(__file__).resolve().parent, model, wanted)
