"""Seeded damage to bytes."""

_LONGEST = 200


def mutate(content, random, *, hot=()):
    """Return the content with one or two places damaged.

    Args:
        content: The bytes.
        random: Draws the damage.
        hot: Where half of it is done: headers are short, and pixels forgive everything.
    """
    changed = bytearray(content)
    for _ in range(random.integers(1, 3)):
        if not changed:
            break
        place = int(random.integers(len(changed)))
        if hot and random.integers(2):
            chosen = hot[random.integers(len(hot))]
            place = min(int(random.integers(chosen.start, chosen.stop)), len(changed) - 1)
        length = int(random.integers(1, _LONGEST if random.integers(2) else 5))
        match random.integers(6):
            case 0 | 1:
                changed[place] ^= 1 << int(random.integers(8))
            case 2:
                changed[place : place + length] = random.bytes(length)
            case 3:
                del changed[place : place + length if random.integers(2) else None]
            case 4:
                changed[place:place] = random.bytes(length)
            case _:
                changed[place:place] = changed[place : place + length]
    return bytes(changed)
