"""The documentation leads somewhere: no link is dead, and no page is out of reach."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")


def linked(page: Path) -> set[Path]:
    targets = LINK.findall(page.read_text())
    return {(page.parent / target).resolve() for target in targets if "://" not in target}


def test_no_link_is_dead() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        dead = [target for target in linked(page) if not target.exists()]
        assert not dead, f"{page}: {dead}"


def test_every_page_can_be_reached() -> None:
    reached: set[Path] = set()
    new = {ROOT / "README.md"}
    while new:
        reached |= new
        new = {target for page in new for target in linked(page) if target.suffix == ".md"} - reached
    lost = set((ROOT / "docs").rglob("*.md")) - reached
    assert not lost
