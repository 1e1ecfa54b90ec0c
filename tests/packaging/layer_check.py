"""What the checks of the layer share: how one is written down, and how the layer is parsed."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = ROOT / "tests/packaging"
YOCTO = ROOT / "yocto"
LAYER = YOCTO / "meta-toono"
RECIPE = LAYER / "recipes-toono/toono"
SERIES = ["scarthgap", "wrynose", "blacksail"]
CACHE = pathlib.Path(os.environ["TOONO_PACKAGING_CACHE"])

passed = failed = 0


def check(what, holds):
    """Runs one check and writes down how it went. `holds` raises if it does not."""
    global passed, failed
    try:
        holds()
    except Exception as error:  # Whatever goes wrong in a check is its finding.
        failed += 1
        why = str(error).strip() or type(error).__name__
        print(f"FAIL layer: {what}: {' / '.join(why.splitlines()[-3:])}", flush=True)
    else:
        passed += 1
        print(f"ok   layer: {what}", flush=True)


def equal(is_, should):
    """Two values are one."""
    if is_ != should:
        raise AssertionError(f"{is_!r} where {should!r} should be")


def holds(condition, why):
    """Something is so."""
    if not condition:
        raise AssertionError(why)


def fails(words, with_):
    """A control: `words` must fail, and say `with_`."""
    try:
        said = run(words)
    except AssertionError as error:
        holds(with_ in str(error), f"it failed with something else: {error}")
    else:
        raise AssertionError(f"nobody minded, {said[-200:]!r}")


def run(words, **options):
    """What a program says. It must end with 0."""
    done = subprocess.run([str(word) for word in words], text=True, capture_output=True, **options)
    if done.returncode:
        raise AssertionError((done.stdout + done.stderr).strip() or f"{words[0]} ended with {done.returncode}")
    return done.stdout


def parse_words(series, layer=LAYER, virtualization=True, **options):
    """The command that parses the layer. `set`: lines of configuration; `recipe`: only this one; `fetch`, `unpack`; `work`."""
    words = [sys.executable, HERE / "layer_parse.py", "--series", series, "--layer", layer]
    if virtualization:
        words += ["--layer", HERE / "stub-virtualization"]
    words += ["--work", options.get("work", CACHE / "bitbake"), "--set", f'DL_DIR = "{CACHE}/downloads"']
    for line in options.get("set", []):
        words += ["--set", line]
    if "recipe" in options:
        words += ["--recipe", options["recipe"]]
    return words + [f"--{flag}" for flag in ("fetch", "unpack") if options.get(flag)]


def parsed(series, **options):
    """The recipes of the layer by name."""
    found = json.loads(run(parse_words(series, **options)))
    skipped = [recipe for recipe in found if "skipped" in recipe]
    holds(not skipped, f"skipped: {skipped}")
    return {recipe["PN"]: recipe for recipe in found}


class Copy:
    """A copy of the layer that a control breaks. It lies as the layer does in a repository, so that its source is found."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="toono-layer-")
        root = pathlib.Path(self.folder.name)
        self.layer = root / "yocto/meta-toono"
        shutil.copytree(LAYER, self.layer)
        run(["git", "init", "-q", root])
        run(["git", "-C", root, "-c", "user.name=t", "-c", "user.email=t", "commit", "-q", "--allow-empty", "-m", "t"])
        self.recipe = self.layer / "recipes-toono/toono"
        return self

    def __exit__(self, *_):
        self.folder.cleanup()

    def change(self, path, old, new):
        """Replaces a text in a file of the copy."""
        file = self.layer / path
        text = file.read_text()
        holds(old in text, f"{path} has no {old!r} to break")
        file.write_text(text.replace(old, new))


def report():
    """The last line, and how the program ends."""
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed or not passed else 0
