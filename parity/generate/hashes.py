"""Writes the table of fixtures, with sizes and sha256, between the markers of parity/README.md."""

import hashlib

from store import FIXTURES

BEGIN, END = "<!-- fixtures: begin -->\n", "<!-- fixtures: end -->\n"
# Topics whose generator has another name than the topic.
GENERATOR = {"filler": "check"}


def main() -> None:
    readme = FIXTURES.parent / "README.md"
    lines = ["| fixture | generator | bytes | sha256 |\n", "|---|---|---|---|\n"]
    for path in sorted(p for p in FIXTURES.rglob("*") if p.is_file()):
        name = path.relative_to(FIXTURES)
        generator = GENERATOR.get(name.parts[0], name.parts[0])
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        lines.append(f"| {name} | {generator}.py | {path.stat().st_size} | {digest} |\n")
    before, rest = readme.read_text().split(BEGIN)
    readme.write_text(before + BEGIN + "".join(lines) + END + rest.split(END)[1])


if __name__ == "__main__":
    main()
