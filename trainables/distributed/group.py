"""The ranks of one trial and what they tell one another, over torch.distributed alone.

Rank 0 leads, and the others follow its words. A group is a rendezvous address, a rank and a size:
its ranks may be processes of one machine, which `leader` starts, or of several.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import TCPStore

LOOPBACK = "127.0.0.1"

PATIENCE = 1800.0
"""Seconds that a rank waits for the others within a step before it takes them for lost."""

FOREVER = timedelta(days=365)
"""How long a rank waits for the next word: as long as rank 0 lives, which may be evaluating."""

GET_ADDRESS = 0x8915
"""What asks Linux for the address of an interface."""

PIECE = 1 << 26
"""Bytes shared at once."""


class RankLostError(Exception):
    """Another rank ended, or did not answer in time."""


class Group:
    """The ranks of one trial, as one of them sees them.

    Attributes:
        address: Where rank 0 holds what ranks say, `host:port`.
        rank: Of this process.
        size: How many there are.
        device: Where this rank computes, and what its group sends from.
        patience: Seconds that it waits for the others within a step.
    """

    def __init__(
        self,
        store: TCPStore,
        rank: int,
        size: int,
        device: torch.device,
        patience: float | None = None,
    ) -> None:
        """Take the parts; `lead` and `follow` make them."""
        self.store, self.rank, self.size, self.device = store, rank, size, device
        self.address = f"{store.host}:{store.port}"
        self.patience = patience or PATIENCE
        self._words = 0
        self._before: dict[str, str | None] = {}

    @classmethod
    def lead(
        cls, size: int, device: torch.device, *, host: str = LOOPBACK, patience: float | None = None
    ) -> Group:
        """Be rank 0, listening on `host` alone: torch itself would listen on every interface."""
        with socket.socket() as listening:
            listening.bind((host, 0))
            listening.listen(size)
            port = listening.getsockname()[1]
            store = TCPStore(
                host,
                port,
                size,
                is_master=True,
                wait_for_workers=False,
                master_listen_fd=listening.detach(),
            )
        return cls(store, 0, size, device, patience)

    @classmethod
    def follow(
        cls,
        address: str,
        rank: int,
        size: int,
        device: torch.device,
        patience: float | None = None,
    ) -> Group:
        """Be another rank of the group that rank 0 leads at `address`."""
        host, _, port = address.rpartition(":")
        store = TCPStore(host, int(port), size, is_master=False, wait_for_workers=False)
        return cls(store, rank, size, device, patience)

    def form(self) -> None:
        """Connect all ranks; each of them calls it, within `patience`."""
        self._bind()
        with _losing_ranks():
            dist.init_process_group(
                "nccl" if self.device.type == "cuda" else "gloo",
                store=self.store,
                rank=self.rank,
                world_size=self.size,
                timeout=timedelta(seconds=self.patience),
            )

    def leave(self, *, abort: bool = False) -> None:
        """Disconnect; `abort` where other ranks may be gone, for whom NCCL would wait."""
        if dist.is_initialized():
            if abort and self.device.type == "cuda":
                dist.distributed_c10d._abort_process_group()
            else:
                dist.destroy_process_group()
        for name, value in self._before.items():
            os.environ.pop(name)
            os.environ.update({} if value is None else {name: value})
        self._before = {}

    def announce(self, word: str) -> None:
        """Say what all ranks do next, where this is rank 0; the others have heard it."""
        if not self.rank:
            self.store.set(f"word/{self._words}", word)
            # all have read what was said before the step that they took since
            self.store.delete_key(f"word/{self._words - 2}")
            self._words += 1

    def words(self) -> Iterator[str]:
        """What rank 0 says, one word after the other, until it says `end`.

        Raises:
            RankLostError: Rank 0 is gone.
        """
        while True:
            key = f"word/{self._words}"
            with _losing_ranks():
                self.store.wait([key], FOREVER)
                word = self.store.get(key).decode()
            self._words += 1
            if word == "end":
                return
            yield word

    def note(self, key: str, value: str) -> None:
        """Leave a note of this rank where rank 0 can read it."""
        with _losing_ranks():
            self.store.set(f"{key}/{self.rank}", value)

    def noted(self, key: str, rank: int) -> str | None:
        """The note that a rank left, if it did."""
        name = f"{key}/{rank}"
        return self.store.get(name).decode() if self.store.check([name]) else None

    def gather(self, own: Tensor | None, n: int) -> Tensor:
        """(n, ...) all of n rows that were dealt to the ranks in turn, without a gradient.

        Args:
            own: (k, ...) the rows of this rank: every `size`-th, from the one numbered `rank` on;
                None where it has none.
            n: Rows of all ranks together.
        """
        shape = self._row_shape(own) if n < self.size else own.shape[1:]  # type: ignore[union-attr]
        padded = torch.zeros((-(-n // self.size), *shape), device=self.device)
        if own is not None:
            padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        with _losing_ranks():
            dist.all_gather(parts, padded)
        return torch.stack(parts, 1).flatten(0, 1)[:n]

    def sum_gradients(
        self, parameters: Iterable[nn.Parameter], alike: Sequence[nn.Parameter] = ()
    ) -> None:
        """Give every parameter the sum of its gradients on all ranks, in one all-reduce.

        Parameters of which no rank has a gradient keep none, so that the optimizer passes over
        them as it does for one process.

        Args:
            parameters: In the same order on every rank.
            alike: Those of which every rank has the whole batch's gradient; rank 0's counts.
        """
        trained = [p for p in (*parameters, *alike) if p.requires_grad]
        silent = {id(p) for p in alike} if self.rank else set()
        gradients = [None if id(p) in silent else p.grad for p in trained]
        held = torch.tensor([float(grad is not None) for grad in gradients], device=self.device)
        pairs = zip(trained, gradients, strict=True)
        parts = [(torch.zeros_like(p) if grad is None else grad).flatten() for p, grad in pairs]
        whole = torch.cat([*parts, held])
        with _losing_ranks():
            dist.all_reduce(whole)
        *sums, counts = torch.split(whole, [*(p.numel() for p in trained), len(trained)])
        for parameter, total, count in zip(trained, sums, counts.tolist(), strict=True):
            parameter.grad = total.view_as(parameter) if count else None

    def share(self, data: bytes) -> bytes:
        """What rank 0 gave, on every rank; what others give is not looked at."""
        size = torch.tensor([len(data)], device=self.device)
        with _losing_ranks():
            dist.broadcast(size, 0)
            whole = np.empty(int(size), dtype=np.uint8)
            if not self.rank:
                whole[:] = np.frombuffer(data, dtype=np.uint8)
            for start in range(0, len(whole), PIECE):
                piece = torch.from_numpy(whole[start : start + PIECE]).to(self.device)
                dist.broadcast(piece, 0)
                whole[start : start + PIECE] = piece.cpu().numpy()
        return whole.tobytes()

    def apart(self, tensors: Iterable[Tensor]) -> list[int]:
        """Ranks that hold other tensors than rank 0, by their fingerprints."""
        own = torch.tensor([fingerprint(tensors)], dtype=torch.int64, device=self.device)
        parts = [torch.empty_like(own) for _ in range(self.size)]
        with _losing_ranks():
            dist.all_gather(parts, own)
        values = torch.cat(parts).tolist()
        return [rank for rank, value in enumerate(values) if value != values[0]]

    def _row_shape(self, own: Tensor | None) -> tuple[int, ...]:
        """Shape of one row, on ranks without any too."""
        sizes = torch.zeros(2, dtype=torch.int64, device=self.device)
        if own is not None:
            sizes[: own.ndim - 1] = torch.tensor(own.shape[1:])
        with _losing_ranks():
            dist.all_reduce(sizes, dist.ReduceOp.MAX)
        return tuple(size for size in sizes.tolist() if size)

    def _bind(self) -> None:
        """Keep a group to the network of its address, and let errors of NCCL be exceptions."""
        chosen = {"TORCH_NCCL_BLOCKING_WAIT": "1", "TORCH_NCCL_ASYNC_ERROR_HANDLING": "0"}
        if name := _interface(self.address):
            chosen |= {"GLOO_SOCKET_IFNAME": name, "NCCL_SOCKET_IFNAME": name}
        self._before = {name: os.environ.get(name) for name in chosen}
        os.environ.update(chosen)


def _interface(address: str) -> str | None:
    """The network interface from which this machine reaches `host:port`; None if not known."""
    host, _, port = address.rpartition(":")
    names = [name for _, name in socket.if_nameindex()]
    if host.startswith("127."):
        return next(name for name in names if name.startswith("lo"))
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.connect((host, int(port)))  # nothing is sent
        own = socket.inet_aton(asking.getsockname()[0])
        for name in names:
            with suppress(OSError):  # it has no address
                request = struct.pack("256s", name.encode())
                if fcntl.ioctl(asking.fileno(), GET_ADDRESS, request)[20:24] == own:
                    return name
    return None


@contextmanager
def _losing_ranks() -> Iterator[None]:
    """What torch raises of a rank that is gone or late, as what it is."""
    try:
        yield
    except RuntimeError as error:
        raise RankLostError(str(error)) from error


def fingerprint(tensors: Iterable[Tensor]) -> int:
    """A number that is equal for equal tensors, and hardly ever for others."""
    total = 0
    for tensor in tensors:
        flat = tensor.detach().flatten()
        bits = flat.view(torch.int32) if flat.dtype == torch.float32 else flat
        total = (total * 1_000_003 + int(bits.sum(dtype=torch.int64))) % (1 << 62)
    return total
