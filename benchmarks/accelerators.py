"""What the vendors publish about accelerators, their links and their hosts; nothing measured here.

`docs/scaling.md` names the page that each number was read on.
"""

from typing import NamedTuple


class Accelerator(NamedTuple):
    """One accelerator, as its vendor describes it.

    Attributes:
      name: as people say it.
      peak: dense bfloat16 operations a second.
      memory: bytes on the device.
      memory_rate: bytes a second that its memory gives or takes.
      link: bytes a second that it sends to its neighbours, all its links together: half of what
        vendors call bidirectional.
      island: how many devices these links can join; more are joined by the network.
      closed_from: the least number of devices whose links close into rings, so that all of them
        carry an all-reduce. A slice of a torus that does not close has corners with half of them.
      network: bytes a second that it sends beyond its island; None where no table goes there.
      host_devices: how many share a host.
      host_cores: of that host; None where we found none stated. Google counts virtual CPUs, of
        which two are a core.
      sources: keys of the list of sources in the document.
    """

    name: str
    peak: float
    memory: float
    memory_rate: float
    link: float
    island: int
    closed_from: int
    network: float | None
    host_devices: int
    host_cores: int | None
    sources: str


ACCELERATORS = (
    Accelerator(
        name="TPU v5e",
        peak=197e12,
        memory=16e9,
        memory_rate=819e9,
        link=200e9,
        island=256,
        closed_from=256,
        network=None,
        host_devices=8,
        host_cores=224 // 2,
        sources="1",
    ),
    Accelerator(
        name="TPU v6e",
        peak=918e12,
        memory=32e9,
        memory_rate=1638e9,
        link=400e9,
        island=256,
        closed_from=256,
        network=None,
        host_devices=8,
        host_cores=None,
        sources="2",
    ),
    Accelerator(
        name="TPU v5p",
        peak=459e12,
        memory=95e9,
        memory_rate=2765e9,
        link=600e9,
        island=6144,
        closed_from=64,
        network=None,
        host_devices=4,
        host_cores=208 // 2,
        sources="3",
    ),
    Accelerator(
        name="H100 SXM",
        peak=989e12,
        memory=80e9,
        memory_rate=3350e9,
        link=450e9,
        island=8,
        closed_from=1,  # every one reaches every other through switches
        network=400e9 / 8,
        host_devices=8,
        host_cores=112,
        sources="4, 5",
    ),
)
