"""Where work is done: in this process, in worker processes of this machine, or on a Dask cluster.

A *task* is a function of one item that leaves its result in a shared folder and returns little: nothing large
goes through the scheduler. It is pickled, so it is a function of a module, or a frozen dataclass with
`__call__`, and loads what is slow (a network) once per process, through a cached function.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tqdm import tqdm

from nuclei.errors import InputError

if TYPE_CHECKING:
    from distributed import Client, Future

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 4  # tasks per thread that the scheduler holds: enough that no worker waits
CONNECT = 20  # s to wait for a scheduler
_LOCAL = re.compile(r"local:([1-9]\d*)")
_ADDRESS = re.compile(r"(tcp|tls|ws|wss|ucx|inproc)://.+")
# How many threads the libraries of a worker compute with; read when they are loaded.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Done(Generic[Item, Result]):
    """An item that is dealt with: its result, or why there is none."""

    item: Item
    result: Result | None
    error: str = ""


class Workers:
    """Does tasks in this process; made by `workers`."""

    def do(
        self, task: Callable[[Item], Result], items: Sequence[Item], desc: str, unit: str
    ) -> Iterator[Done[Item, Result]]:
        """Do the task for every item and give them back as they finish, in any order.

        An item whose task raises is named in a warning and left out, and the rest goes on; but an InputError,
        which the user has to mend (a full disk), ends it all.

        Args:
            task: as the head of this file says.
            items: picklable, with a str() that names them.
            desc, unit: of the progress bar.
        """
        with tqdm(total=len(items), desc=desc, unit=unit, disable=None) as bar:
            for done in self._each(task, items):
                bar.update()
                if done.error:
                    log.warning("%s %s failed and is left out: %s", unit, done.item, done.error)
                yield done

    def do_all(self, task: Callable[[Item], object], items: Sequence[Item], desc: str, unit: str) -> None:
        """Do the task for every item where none may be left out.

        Raises:
            Exception: what the task raises, in this process.
            InputError: items failed elsewhere, after the rest was done.
        """
        for item in tqdm(items, desc=desc, unit=unit):
            task(item)

    def _each(self, task: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Done[Item, Result]]:
        for item in items:
            yield _attempt(task, item)


class DaskWorkers(Workers):
    """Does tasks through a Dask scheduler. The item of a worker that dies is done again by another one."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def do_all(self, task: Callable[[Item], object], items: Sequence[Item], desc: str, unit: str) -> None:
        failed = [done for done in self.do(task, items, desc, unit) if done.error]
        if failed:
            raise InputError(
                f"{len(failed)} of {len(items)} failed, the first of them {unit} {failed[0].item}: "
                f"{failed[0].error}; run the same command again to try them again"
            )

    def _each(self, task: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Done[Item, Result]]:
        from distributed import as_completed

        shared = self._client.scatter(task, broadcast=True, hash=False)
        left, item_of = iter(items), {}

        def submit() -> Future | None:
            for item in left:
                future = self._client.submit(_attempt, shared, item, pure=False)
                item_of[future] = item
                return future
            return None

        first = [future for _ in range(self._ahead()) if (future := submit()) is not None]
        finished = as_completed(first)
        for future in finished:
            item = item_of.pop(future)
            error = future.exception()
            if isinstance(error, InputError):
                raise error
            yield future.result() if error is None else Done(item, None, _one_line(error))
            if (another := submit()) is not None:
                finished.add(another)

    def _ahead(self) -> int:
        threads = sum(self._client.nthreads().values())
        return AHEAD * max(threads, 1)


def _attempt(task: Callable[[Item], Result], item: Item) -> Done[Item, Result]:
    try:
        return Done(item, task(item))
    except InputError:
        raise
    except Exception as error:  # whatever a damaged file makes of a library
        log.debug("%s", item, exc_info=True)
        return Done(item, None, _one_line(error))


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def check(scheduler: str | None) -> None:
    """InputError where `scheduler` is nothing that `workers` knows."""
    if scheduler is not None and not (_LOCAL.fullmatch(scheduler) or _ADDRESS.fullmatch(scheduler)):
        raise InputError(
            f"--scheduler is {scheduler!r}; give local:N for N worker processes on this machine, or the "
            "address of a Dask scheduler, such as tcp://10.0.0.1:8786"
        )


@contextlib.contextmanager
def workers(scheduler: str | None) -> Iterator[Workers]:
    """The workers that `scheduler` names.

    Args:
        scheduler: None: this process. "local:N": N processes of this machine that share its cores and GPUs.
            Otherwise the address of a Dask scheduler, whose workers see the same folders by the same names.

    Raises:
        InputError: no such scheduler, or it does not answer.
    """
    check(scheduler)
    if scheduler is None:
        yield Workers()
        return
    with contextlib.ExitStack() as stack:
        yield DaskWorkers(_connect(scheduler, stack))


def _connect(scheduler: str, stack: contextlib.ExitStack) -> Client:
    # Imported here: it takes a second, and most runs have no cluster.
    from distributed import Client

    logging.getLogger("distributed").setLevel(logging.ERROR)  # it tells of every worker that comes and goes
    local = _LOCAL.fullmatch(scheduler)
    try:
        where: Any = stack.enter_context(_local_cluster(int(local[1]))) if local else scheduler
        client = stack.enter_context(Client(where, timeout=CONNECT))
    except (OSError, TimeoutError) as error:
        raise InputError(f"--scheduler {scheduler} does not answer: {_one_line(error)}") from None
    if not local and not client.nthreads():
        log.warning("the scheduler %s has no worker yet; the work begins when one comes", scheduler)
    print(f"dashboard of the workers: {client.dashboard_link}")
    return client


def _local_cluster(count: int) -> Any:
    """A scheduler and `count` workers of one thread each, which share out the cores and the GPUs."""
    from distributed import Nanny, Scheduler, SpecCluster

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    gpus = _gpus()
    spec = {}
    for number in range(count):
        environment = dict.fromkeys(_THREADS, str(max(1, cores // count)))
        if gpus:
            environment["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
            environment["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"  # several workers may share one
        # No limit of memory: Dask would pause workers for what TensorFlow keeps for itself.
        options = {"nthreads": 1, "env": environment, "memory_limit": 0, "silence_logs": logging.CRITICAL}
        spec[number] = {"cls": Nanny, "options": options}
    head = {"cls": Scheduler, "options": {"dashboard_address": "127.0.0.1:0", "host": "127.0.0.1"}}
    return SpecCluster(workers=spec, scheduler=head, silence_logs=logging.CRITICAL)


def _gpus() -> list[str]:
    """The names of the GPUs that this process may use, for CUDA_VISIBLE_DEVICES."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [str(number) for number, line in enumerate(listed.splitlines()) if line.startswith("GPU")]
