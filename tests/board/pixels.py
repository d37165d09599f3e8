"""Pictures of the boards' checks, by nothing but arithmetic: what a camera is made to see, and what a screen has to
show. Independent of the Rust that is checked."""
import math
import struct
import zlib
from fractions import Fraction

# The colour spaces of V4L2 that are used here, with the weights of red and blue in luma.
SRGB, REC709 = 8, 3
WEIGHTS = {SRGB: ("0.299", "0.114"), REC709: ("0.2126", "0.0722")}


def read_png(path):
    """(width, height, rows of bytes) of a PNG of 8-bit RGB that is not interlaced, as the demo's are."""
    data = path.read_bytes()
    at, header, packed = 8, None, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + length]
        header = struct.unpack(">IIBBBBB", body) if kind == b"IHDR" else header
        packed += body if kind == b"IDAT" else b""
        at += length + 12
    width, height, *kind = header
    assert kind == [8, 2, 0, 0, 0], f"{path} is another kind of PNG: {kind}"
    raw, stride, rows = zlib.decompress(packed), width * 3, []
    above = bytes(stride)
    for y in range(height):
        method, row = raw[y * (stride + 1)], bytearray(raw[y * (stride + 1) + 1:][:stride])
        for i in range(stride):
            left, corner = (row[i - 3], above[i - 3]) if i >= 3 else (0, 0)
            if method == 4:
                p = left + above[i] - corner
                near = min([left, above[i], corner], key=lambda v: abs(p - v))
            else:
                near = [0, left, above[i], (left + above[i]) // 2][method]
            row[i] = row[i] + near & 255
        rows.append(bytes(row))
        above = row
    return width, height, rows


def read_ppm(path):
    """(width, height, rows of bytes) of a PPM of 8-bit RGB without comments."""
    data = path.read_bytes()
    magic, width, height, most = data[:100].split(maxsplit=4)[:4]
    assert (magic, most) == (b"P6", b"255"), f"{path} is another kind of PPM"
    width, height = int(width), int(height)
    data = data[-width * height * 3:]
    return width, height, [data[y * width * 3:][:width * 3] for y in range(height)]


def write_ppm(path, rows):
    path.write_bytes(b"P6 %d %d 255\n" % (len(rows[0]) // 3, len(rows)) + b"".join(rows))


def stretched(picture, width, height):
    """Rows of the picture in another size, nearest pixels; equal rows are the same object."""
    w, h, rows = picture
    wide = [b"".join(row[x * w // width * 3:][:3] for x in range(width)) for row in rows]
    return [wide[y * h // height] for y in range(height)]


def rounded(value):
    return math.floor(value + Fraction(1, 2))


class Colours:
    """Luma and chroma of limited range, in exact arithmetic."""

    def __init__(self, space):
        self.kr, self.kb = (Fraction(k) for k in WEIGHTS[space])
        self.known = {}

    def of(self, rgb):
        """Y, Cb and Cr of a colour, not rounded."""
        r, g, b = (Fraction(v, 255) for v in rgb)
        y = self.kr * r + (1 - self.kr - self.kb) * g + self.kb * b
        return 16 + 219 * y, 128 + 112 * (b - y) / (1 - self.kb), 128 + 112 * (r - y) / (1 - self.kr)

    def rgb(self, ycc):
        if ycc not in self.known:
            y = Fraction(ycc[0] - 16, 219)
            b, r = ((c - 128) / Fraction(112) for c in ycc[1:])
            red, blue = y + (1 - self.kr) * r, y + (1 - self.kb) * b
            green = (y - self.kr * red - self.kb * blue) / (1 - self.kr - self.kb)
            self.known[ycc] = bytes(min(max(rounded(255 * v), 0), 255) for v in (red, green, blue))
        return self.known[ycc]


def halved(colours, rows):
    """For each pair of pixels of rows that share their chroma: lumas of the rows, and the chroma, rounded."""
    known = {}

    def ycc(rgb):
        if rgb not in known:
            known[rgb] = colours.of(rgb)
        return known[rgb]

    for x in range(0, len(rows[0]), 6):
        four = [[ycc(row[x:x + 3]), ycc(row[x + 3:x + 6])] for row in rows]
        lumas = [[rounded(pixel[0]) for pixel in pair] for pair in four]
        pixels = [pixel for pair in four for pixel in pair]
        yield lumas, [rounded(sum(p[i] for p in pixels) / len(pixels)) for i in (1, 2)]


def yuyv(rows, space):
    """The bytes that a camera gives, and the rows that have to come of them."""
    colours, done = Colours(space), {}
    for row in rows:
        if id(row) not in done:
            packed, back = bytearray(), bytearray()
            for [[y0, y1]], (cb, cr) in halved(colours, [row]):
                packed += bytes([y0, cb, y1, cr])
                back += colours.rgb((y0, cb, cr)) + colours.rgb((y1, cb, cr))
            done[id(row)] = bytes(packed), bytes(back)
    return b"".join(done[id(row)][0] for row in rows), [done[id(row)][1] for row in rows]


def nv12(rows, space):
    """The bytes that a camera gives, and the rows that have to come of them."""
    colours, done = Colours(space), {}
    pairs = [(rows[y], rows[y + 1]) for y in range(0, len(rows), 2)]
    for pair in pairs:
        key = tuple(map(id, pair))
        if key not in done:
            lumas, chromas, back = [bytearray(), bytearray()], bytearray(), [bytearray(), bytearray()]
            for two, (cb, cr) in halved(colours, pair):
                chromas += bytes([cb, cr])
                for i in (0, 1):
                    lumas[i] += bytes(two[i])
                    back[i] += colours.rgb((two[i][0], cb, cr)) + colours.rgb((two[i][1], cb, cr))
            done[key] = b"".join(lumas), bytes(chromas), list(map(bytes, back))
    made = [done[tuple(map(id, pair))] for pair in pairs]
    return b"".join([m[0] for m in made] + [m[1] for m in made]), [row for m in made for row in m[2]]


def rgb(rows, _):
    return b"".join(rows), rows
