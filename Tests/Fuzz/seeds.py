"""seeds.py WHAT FOLDER: the first inputs of a reader. The file Seeds/WHAT.hex holds one a line; a folder Seeds/WHAT holds files."""

import pathlib
import sys

what, folder = sys.argv[1], pathlib.Path(sys.argv[2])
seeds = pathlib.Path(__file__).parent / "Seeds"
inputs = (
    [file.read_bytes() for file in sorted((seeds / what).iterdir())]
    if (seeds / what).is_dir()
    else [bytes.fromhex(line) for line in (seeds / f"{what}.hex").read_text().split()]
)
for number, data in enumerate(inputs):
    (folder / f"seed-{number}").write_bytes(data)
