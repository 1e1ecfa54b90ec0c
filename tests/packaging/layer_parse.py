#!/usr/bin/env python3
"""Parses the Yocto layer with BitBake's own parser, in process, and prints what came out as JSON.

    layer_parse.py --series wrynose --layer LAYER [--layer LAYER ...] --work FOLDER [--fetch] [--unpack]

BitBake is the package `bitbake-setup` of PyPI, which its developers publish: the whole of `bb` without the programs and without the
two servers, which parsing does not need. It is one version whatever the series. In the place of openembedded-core stands `stub/`, so what core's classes make of the
recipe is not seen here. `--fetch` downloads what SRC_URI names with BitBake's fetcher, which checks the sums; `--unpack` lays it
out as do_unpack does. Ends with 1 when anything is wrong; what, is on standard error.
"""

import argparse
import glob
import json
import logging
import os
import pathlib
import sys
import types

HERE = pathlib.Path(__file__).resolve().parent
SHOWN = ["PN", "PV", "BP", "S", "LICENSE", "SRC_URI", "SRCREV", "LIC_FILES_CHKSUM", "CARGO_BUILD_FLAGS", "CARGO_LOCK_SRC_DIR",
         "CARGO_PROFILE_RELEASE_STRIP", "CARGO_VENDORING_DIRECTORY", "USERADD_PARAM:${PN}", "GROUPADD_PARAM:${PN}",
         "INITSCRIPT_PARAMS", "CONFFILES:${PN}", "FILES:${PN}", "RDEPENDS:${PN}", "RRECOMMENDS:${PN}", "INSANE_SKIP:${PN}",
         "TOONO_STATE_DIR", "TOONO_STATE_MOUNT", "TOONO_DATA_DEVICE", "TOONO_UID", "EXTERNALSRC", "IMAGE_FEATURES", "IMAGE_FSTYPES", "IMAGE_INSTALL",
         "ROOTFS_POSTPROCESS_COMMAND", "WKS_FILE", "do_install", "toono_data_partition", "toono_say_state", "toono_ptest_units"]


def bitbake():
    """The package, without the servers that it imports."""
    for name in ("hashserv", "hashserv.client", "prserv"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["hashserv"].client = sys.modules["hashserv.client"]
    # BitBake's own log, where errors are said that are not raised.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s: %(message)s")
    import bb
    import bb.cache
    import bb.cookerdata
    import bb.fetch2
    import bb.parse
    import bb.process
    logging.getLogger("BitBake").setLevel(logging.WARNING)
    return bb


def configured(bb, said):
    """The base configuration, of core's stand-in and the layers."""
    work = pathlib.Path(said.work).resolve()
    (work / "conf").mkdir(parents=True, exist_ok=True)
    layers = [str(HERE / "stub"), *(str(pathlib.Path(layer).resolve()) for layer in said.layer)]
    (work / "conf" / "bblayers.conf").write_text(f'SERIES = "{said.series}"\nBBPATH = "${{TOPDIR}}"\nBBFILES ?= ""\nBBLAYERS = "{" ".join(layers)}"\n')
    os.chdir(work)
    parameters = bb.cookerdata.CookerConfiguration()
    parameters.env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    if said.set:
        extra = work / "conf" / "extra.conf"
        extra.write_text("\n".join(said.set) + "\n")
        parameters.postfile = [str(extra)]
    builder = bb.cookerdata.CookerDataBuilder(parameters, False)
    builder.parseBaseConfiguration()
    return builder


# Of core's BB_BASEHASH_IGNORE_VARS, those that hold folders.
IGNORED = {"TMPDIR", "FILE", "PATH", "PWD", "BBPATH", "DL_DIR", "THISDIR", "FILESPATH", "TOPDIR"}


def signatures(bb, data, file):
    """What each task's signature is made from, before the tasks it depends on: the same wherever the layer lies."""
    tasks, needs, values = bb.data.generate_dependencies(data, IGNORED)
    return bb.data.generate_dependency_hash(tasks, needs, values, IGNORED, file)[1]


def recipe(bb, builder, file, said):
    """One recipe's variables, and what its SRC_URI is made of."""
    appends = [name for name in builder.data.getVar("BBFILES").split() if name.endswith(".bbappend")]
    data = builder.parseRecipe(file, appends, "toono")
    skipped = data.getVar("__SKIPPED", False)
    if skipped:
        return {"file": file, "skipped": str(skipped)}
    shown = {name: data.getVar(data.expand(name)) for name in SHOWN}
    shown["file"] = file
    tasks = {task: data.getVarFlag(task, "deps", False) or [] for task in data.keys() if data.getVarFlag(task, "task", False)}
    shown["tasks"] = tasks
    shown["network"] = [task for task in tasks if data.getVarFlag(task, "network") and task != "do_fetch"]
    shown["signatures"] = signatures(bb, data, "recipe")
    if not data.getVar("SRC_URI"):
        return shown
    fetcher = bb.fetch2.Fetch(data.getVar("SRC_URI").split(), data)
    shown["sources"] = [{"type": each.type, "name": each.parm.get("name"), "sha256": getattr(each, "sha256_expected", None),
                         "file": os.path.basename(each.localfile or "")} for each in (fetcher.ud[url] for url in fetcher.urls)]
    shown["licences"] = []
    for url in (data.getVar("LIC_FILES_CHKSUM") or "").split():
        kind, _, path, _, _, parameters = bb.fetch2.decodeurl(url)
        shown["licences"].append({"type": kind, "path": os.path.join(data.getVar("S"), path), **parameters})
    if said.fetch:
        fetcher.download()
    if said.unpack:
        fetcher.unpack(data.getVar("UNPACKDIR"))
    return shown


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", required=True)
    parser.add_argument("--layer", action="append", required=True)
    parser.add_argument("--work", required=True, help="the folder that is built in")
    parser.add_argument("--set", action="append", default=[], help="a line of configuration")
    parser.add_argument("--recipe", help="only recipes of this name")
    parser.add_argument("--fetch", action="store_true")
    parser.add_argument("--unpack", action="store_true")
    said = parser.parse_args()
    # What git and tar say while they work goes to standard error too.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    bb = bitbake()
    builder = configured(bb, said)
    files = [file for pattern in builder.data.getVar("BBFILES").split() for file in sorted(glob.glob(pattern)) if file.endswith(".bb")]
    files = [file for file in files if said.recipe in (None, os.path.basename(file).split("_")[0].removesuffix(".bb"))]
    print(json.dumps([recipe(bb, builder, file, said) for file in files], indent=1), file=answer, flush=True)


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # BitBake's errors are of many kinds, and a check wants one line of each.
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
