"""The concepts that the embedded model draws: which emoji, under which names and keywords.

    python -m training.concepts --emojilib emoji-en-US.json --groups data-by-emoji.json

writes concepts.json beside this file, from the PyPI package `emoji` (names), the npm packages `emojilib` (keywords,
MIT) and `unicode-emoji-json` (groups, MIT). The result is committed, so only a new choice of concepts needs the three.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from zlib import crc32

TABLE = Path(__file__).with_name("concepts.json")
NEWEST = 15  # Emoji's version in Debian 12's font
SHARED = 3  # a keyword of more concepts than this says too little ("animal", "food")

# People ask for these; on a CPU they are all that is trained.
EVERYDAY = {
    "faces": "😀😂🙂😉😊😇🥰😍😘😛🤪🤔😐🙄😬😴😷🤕🤢🥵🥶🤯🤠🥳😎🤓🧐😳🥺😢😭😱😡🤬😈💀💩🤡👹👻👽👾🤖😺😹😻😾🙈🙉🙊💋",
    "hearts": "💔❤️💛💚💙💜🖤💎💥💫💦💍👑",
    "animals": (
        "🐵🦍🦧🐶🐺🦊🦝🐱🦁🐯🐴🦄🦓🦌🐮🐷🐑🐐🐪🦙🦒🐘🦏🦛🐭🐹🐰🐿️🦔🦇🐻🐨🐼🦥🦦🦨🦘🦃🐔🐓🐣🐧🕊️🦅🦆🦢🦉🦩🦚🦜🐸🐊🐢"
        "🦎🐍🐉🦕🦖🐳🐋🐬🐟🐠🦈🐙🐚🦀🦞🦐🦑🐌🦋🐛🐜🐝🐞🕷️🦂"
    ),
    "plants": "💐🌸🌹🌺🌻🌼🌷🌱🌲🌳🌴🌵🍀🍁🍃🍄",
    "food": (
        "🍇🍈🍉🍊🍋🍌🍍🥭🍎🍏🍐🍑🍒🍓🥝🍅🥥🥑🍆🥔🥕🌽🌶️🥬🥦🧄🧅🌰🍞🥐🥖🥨🥯🥞🧇🧀🍖🍗🥩🥓🍔🍟🍕🌭🥪🌮🌯🥚🍳🍲🥗🍿🧈🍙🍜🍝🍣🍤🍡🍦🍨"
        "🍩🍪🎂🍰🧁🥧🍫🍬🍭🍮🍯🍼🥛☕🍵🍶🍷🍸🍹🍺🧃"
    ),
    "vehicles": "🚂🚄🚌🚑🚒🚓🚕🚗🚙🚚🚜🏎️🏍️🛵🚲🛴⛵🛶🚤🚢✈️🚁🚀🛸🛰️⚓⛽🚦🚧",
    "places": "🌍🌋🗻🏕️🏖️🏜️🏝️🏞️🏛️🏠🏡🏢🏥🏰🗼🗽⛪🕌⛩️⛲⛺🌃🌅🌉🎡🎢🎪",
    "sky": "🌑🌓🌕🌙🌞☀️🪐⭐🌟⛅⛈️🌧️🌪️🌈☂️⚡❄️⛄🔥💧🌊",
    "play": "🎃🎄🎆🧨✨🎈🎉🎀🎁🏆🥇⚽⚾🏀🏐🏈🎾🎳🥊⛳⛸️🎣🛷🎯🪁🎱🔮🎮🎰🎲🧩🧸🎭🎨🧶",
    "objects": (
        "👓🕶️👕👖🧣🧤🧦👗👙👜🎒👟👠👢🎩🎓💄🔔🎤🎧📻🎷🎸🎹🎺🎻🥁📱☎️💻🖥️🖨️🎥📺📷🔍🕯️💡📕📚📰💰✉️📦📫🖌️📌📎📏✂️🗑️🔒🔑🔨⚔️💣"
        "🏹🛡️🔧⚙️🧲🧪🔬💉💊🚪🛏️🛋️🪑🚽🛁🧹🧺🧻🧼🛒⏰⌛🧭"
    ),
}
RENAMED = {"🥇": "gold medal", "🎱": "billiard ball"}  # their names have digits
TOO_WIDE = {"emoji", "sign", "emoticon"}  # keywords that say nothing
VISUAL = (
    "Smileys & Emotion",
    "Animals & Nature",
    "Food & Drink",
    "Travel & Places",
    "Activities",
    "Objects",
    "People & Body",
)
NOT_PICTURES = (  # writing, clocks, signs and outlines, by what their names say
    "oclock", "thirty", "silhouette", "button", "mobile phone off", "card index", "suit", "sign", "input",
    "bust", "family", "footprints", "fingerprint", "speech", "thought", "bubble", "anger symbol", "hundred points",
    "eye in", "dashing", "emoji modifier", "sweat droplets", "hole", "mahjong", "flower playing", "zzz", "bank",
)  # fmt: skip


@dataclass(frozen=True)
class Concept:
    """One emoji: its character, its name, the keywords that at most SHARED concepts have."""

    emoji: str
    name: str
    keywords: tuple[str, ...]
    everyday: bool


@cache
def concepts(everyday: bool = False) -> tuple[Concept, ...]:
    """The committed table, in Unicode's order, or its everyday part; keywords are filtered within what is asked for."""
    rows = [row for row in json.loads(TABLE.read_text(encoding="utf-8")) if row["everyday"] or not everyday]
    names = {row["name"] for row in rows}
    use = Counter(word for row in rows for word in row["keywords"])
    return tuple(
        Concept(
            row["emoji"],
            row["name"],
            tuple(w for w in row["keywords"] if use[w] <= SHARED and w not in names),
            row["everyday"],
        )
        for row in rows
    )


def fingerprint(table: Sequence[Concept]) -> str:
    """Tells tables apart, for what is made from one and kept."""
    return f"{crc32(' '.join(concept.name for concept in table).encode()):08x}"


def gather(names: dict[str, str], keywords: dict[str, list[str]], groups: dict[str, str]) -> list[dict]:
    """Rows of the table: the visual emoji among `groups`, without skin tones, with plain-word names and keywords."""
    everyday = [character for row in EVERYDAY.values() for character in split(row, groups)]
    doubled = [character for character, times in Counter(everyday).items() if times > 1]
    if doubled:
        raise ValueError(f"EVERYDAY has {doubled} twice.")
    rows = []
    for emoji, group in groups.items():
        name = RENAMED.get(emoji) or names.get(emoji, "")
        called = [name.removesuffix(" face")] if group == "Animals & Nature" and name.endswith(" face") else []
        dull = group not in VISUAL or not name or any(word in name for word in NOT_PICTURES)
        if emoji not in everyday and (dull or ("\u200d" in emoji and group == "People & Body")):
            continue
        said = dict.fromkeys(plain(word) for word in (*called, *keywords.get(emoji, ())))
        words = [word for word in said if word and word != name and word not in TOO_WIDE]
        rows.append({"emoji": emoji, "name": name, "keywords": words, "everyday": emoji in everyday})
    return rows


def split(text: str, known: Sequence[str] | dict[str, str]) -> list[str]:
    """The emoji of a string, longest first: some are several code points."""
    found, start = [], 0
    while start < len(text):
        end = next((e for e in range(min(len(text), start + 8), start, -1) if text[start:e] in known), None)
        if end is None:
            raise ValueError(f"{text[start]!r} is no emoji of the table.")
        found.append(text[start:end])
        start = end
    return found


def plain(text: str) -> str:
    """Small letters and single spaces; empty where anything else than letters is left."""
    words = text.lower().replace("_", " ").replace("-", " ").replace("’", "").split()
    return " ".join(words) if all(word.isascii() and word.isalpha() for word in words) else ""


def main() -> None:
    """Writes concepts.json."""
    import emoji  # only here: the table is committed

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--emojilib", type=Path, required=True, help="emojilib's dist/emoji-en-US.json")
    parser.add_argument("--groups", type=Path, required=True, help="unicode-emoji-json's data-by-emoji.json")
    arguments = parser.parse_args()
    groups = {c: row["group"] for c, row in json.loads(arguments.groups.read_text(encoding="utf-8")).items()}
    names = {c: plain(row["en"].strip(":")) for c, row in emoji.EMOJI_DATA.items() if row["E"] <= NEWEST}
    rows = gather(names, json.loads(arguments.emojilib.read_text(encoding="utf-8")), groups)
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    TABLE.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(f"{len(rows)} concepts, {sum(row['everyday'] for row in rows)} of them everyday")


if __name__ == "__main__":
    main()
