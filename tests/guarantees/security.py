from tests.guarantees.breaking import Breaking

BREAKINGS: dict[str, tuple[Breaking, ...]] = {}
