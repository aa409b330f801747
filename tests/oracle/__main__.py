"""The oracle by hand.

`python -m tests.oracle SEED [SECONDS [FINDS]]` hunts, `python -m tests.oracle SEED/NUMBER` judges one world again.
"""

from __future__ import annotations

import sys

from tests.oracle import generate
from tests.oracle.hunt import hunt
from tests.oracle.judge import load_everything, run_world
from tests.oracle.shrink import shrink
from tests.oracle.worlds import code


def main(seed: str, seconds: str = "10", finds: str = "10") -> None:
    """Say what was seen; one world with something wrong is made small."""
    if "/" in seed:
        load_everything()
        world = generate.world(seed)
        judged = run_world(world)
        sys.stdout.write(f"{judged.counts}\n" + "".join(f"{wrong}\n" for wrong in judged.wrong))
        if judged.wrong:
            world = shrink(world, lambda smaller: bool(run_world(smaller).wrong))
            sys.stdout.write(f"{code(world)}\n{run_world(world).wrong}\n")
        return
    result = hunt(seed, float(seconds), most_finds=int(finds))
    sys.stdout.write(f"{result}\n")
    for find in result.finds:
        sys.stdout.write(f"{find.seed}: {len(find.wrong)}\n" + "".join(f"  {wrong}\n" for wrong in find.wrong[:5]))


if __name__ == "__main__":
    main(*sys.argv[1:])
