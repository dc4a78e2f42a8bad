"""Work that runs ahead in threads, for what releases the interpreter: files, decoding, encoding."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int = 2, ahead: int = 16
) -> Iterator[Result]:
    """function(item) for every item, in order, up to `ahead` of them worked on before they are asked for.

    Unlike joblib, and `Executor.map` before `buffersize` came with Python 3.14, it never holds more results
    than that. An exception of `function` comes out where its result would have; what has not been begun by
    then is dropped.
    """
    items = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        pending = deque(pool.submit(function, item) for item in islice(items, ahead))
        try:
            while pending:
                result = pending.popleft().result()
                pending.extend(pool.submit(function, item) for item in islice(items, 1))
                yield result
        finally:
            for future in pending:
                future.cancel()
