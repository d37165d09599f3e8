#!/usr/bin/env python3
"""Makes the picture goldens of this folder with Pillow: sources, and hashes of what the reference makes of them.

    make.py PICTURES     # folder with astronaut.png, chelsea.png, horse.png, rocket.png of scikit-image 0.26

Reference: Hugging Face's slow SiglipImageProcessor. Pillow (before 13) converts to RGB and resizes with its bicubic
filter to size x size; then u8 * (1/255) in f64, to f32, (x - 0.5) / 0.5 in f32.
Needs: pip install pillow==12.3.0 numpy
"""
import hashlib
import json
import pathlib
import sys

import numpy as np
import PIL
from PIL import Image

HERE = pathlib.Path(__file__).parent
SIZES = [56, 112, 224]
LARGE = [448, 896]
PATCH = 14


def formula(w, h, seed):
    """Flat 4 x 4 blocks with hard edges, and a ramp: compresses well, and overshoots at every edge."""
    y, x, c = np.mgrid[0:h, 0:w, 0:3]
    blocks = ((x >> 2) * 37 + (y >> 2) * 101 + (x >> 2) * (y >> 2) * 7 + c * 85 + seed * 53) % 256
    ramp = (x * 3 + y * 2 + c * 40) % 256
    return np.where((x >> 4) + (y >> 4) & 1, ramp, blocks).astype(np.uint8)


def sources(pictures):
    rgb = lambda w, h, seed=0: Image.fromarray(formula(w, h, seed))
    gray = lambda w, h, seed=0: Image.fromarray(np.ascontiguousarray(formula(w, h, seed)[:, :, 0]))
    alpha = lambda w, h: Image.fromarray(np.ascontiguousarray(formula(w, h, 9)[::-1, ::-1, 1]))
    for w, h in [(1, 1), (1, 300), (300, 1), (7, 5), (512, 600), (56, 56), (20, 10), (100, 30), (30, 100),
                 (1200, 40), (2, 700), (5, 501), (5, 500), (16, 2000)]:
        yield f"rgb-{w}x{h}.png", rgb(w, h), {}
    yield "gray-33x47.png", gray(33, 47), {}
    yield "gray-3x400.png", gray(3, 400), {}
    yield "bilevel-41x30.png", gray(41, 30).point(lambda v: 255 * (v > 127)).convert("1"), {}
    la = Image.merge("LA", [gray(30, 21), alpha(30, 21)])
    yield "gray-alpha-30x21.png", la, {}
    rgba = rgb(45, 31)
    rgba.putalpha(alpha(45, 31))
    yield "rgba-45x31.png", rgba, {}
    yield "rgb-keyed-20x20.png", rgb(20, 20, 3), dict(transparency=tuple(int(v) for v in formula(20, 20, 3)[0, 0]))
    palette = rgb(64, 48, 1).quantize(64)
    yield "palette-64x48.png", palette, {}
    yield "palette-transparent-64x48.png", palette, dict(transparency=bytes(range(0, 256, 4)))
    yield "palette-4bit-17x9.png", rgb(17, 9, 2).quantize(12), dict(bits=4)
    yield "rgb-13x9.bmp", rgb(13, 9), {}
    yield "palette-13x9.bmp", rgb(13, 9).quantize(16), {}
    yield "rgb-13x9.ppm", rgb(13, 9), {}
    yield "gray-13x9.pgm", gray(13, 9), {}
    yield "rgb-40x25.webp", rgb(40, 25), dict(lossless=True)
    crop = lambda name, box: Image.open(pictures / name).crop(box)
    yield "astronaut-crop.png", crop("astronaut.png", (160, 0, 290, 120)), {}
    yield "chelsea-crop.png", crop("chelsea.png", (110, 60, 230, 150)), {}
    yield "rocket-crop.png", crop("rocket.png", (280, 100, 360, 420)), {}
    yield "horse.png", Image.open(pictures / "horse.png"), {}


def sha(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def case(image, size):
    resized = np.asarray(image.resize((size, size), Image.BICUBIC))
    unit = (resized.astype(np.float64) * (1 / 255)).astype(np.float32)
    values = ((unit - np.float32(0.5)) / np.float32(0.5)).astype("<f4").transpose(2, 0, 1)
    planar = np.ascontiguousarray(resized.transpose(2, 0, 1))
    return dict(size=size, resized=sha(planar), pixel_values=sha(values),
                first=planar[:, 0, :8].reshape(-1).tolist())


def main():
    assert int(PIL.__version__.split(".")[0]) < 13, "Pillow 13 resizes in another order"
    pictures = pathlib.Path(sys.argv[1])
    out = []
    for name, image, options in sources(pictures):
        image.save(HERE / name, **(dict(optimize=True) if name.endswith("png") else {}), **options)
        image = Image.open(HERE / name).convert("RGB")
        sizes = SIZES + (LARGE if name in ("rgb-512x600.png", "chelsea-crop.png", "rgb-16x2000.png") else [])
        out.append(dict(file=name, width=image.width, height=image.height, rgb=sha(np.asarray(image)),
                        cases=[case(image, size) for size in sizes]))
    text = ",\n".join(json.dumps(entry) for entry in out)
    meta = json.dumps(dict(pillow=PIL.__version__, patch=PATCH))[1:-1]
    (HERE / "goldens.json").write_text(f'{{{meta}, "pictures": [\n{text}\n]}}\n')

    # JPEG decoders differ by a few levels: the decoded picture is kept, not a hash.
    photo = Image.open(pictures / "chelsea.png").crop((130, 80, 194, 128))
    for name, subsampling in [("full", 0), ("half", 2)]:
        photo.save(HERE / f"photo-{name}.jpg", quality=90, subsampling=subsampling)
        Image.open(HERE / f"photo-{name}.jpg").save(HERE / f"photo-{name}.jpg.png", optimize=True)
    photo.convert("CMYK").save(HERE / "cmyk.jpg", quality=60)
    # A header that promises 400 megapixels, and nothing behind it.
    huge = HERE / "huge.png"
    Image.new("1", (20000, 20000)).save(huge)
    huge.write_bytes(huge.read_bytes()[:120])


if __name__ == "__main__":
    main()
