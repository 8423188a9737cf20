"""What names of files end in."""

from __future__ import annotations

ENDINGS = frozenset(
    {
        "csv",
        "tsv",
        "txt",
        "dat",
        "parquet",
        "json",
        "jsonl",
        "ndjson",
        "xlsx",
        "xlsm",
        "mat",
        "arff",
        "npy",
        "npz",
        "feather",
        "arrow",
        "arrows",
        "orc",
        "tar",
        "tgz",
        "zip",
        "prom",
        "tab",
    }
)
PACKINGS = frozenset({"gz", "xz", "bz2", "zst", "lz4"})


def stem_of(name: str) -> str:
    """A file's name without what tells its kind."""
    endings = ENDINGS | PACKINGS
    while "." in name and name.rsplit(".", 1)[1].lower() in endings:
        name = name.rsplit(".", 1)[0]
    return {"": "series", "-": "stdin"}.get(name, name)
