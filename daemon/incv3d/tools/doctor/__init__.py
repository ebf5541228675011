"""Check the machine and the installation for ``incv3d doctor``; report problems and how to fix them.

One module per subject. Each check is a function from a :class:`~incv3d.tools.doctor.host.Host` to a list
of :class:`~incv3d.tools.doctor.findings.Finding`. NumPy, ZeroMQ and the engines are imported only after a
child process has shown that they can be.
"""

from incv3d.tools.doctor.findings import Finding, Status, count
from incv3d.tools.doctor.host import Host
from incv3d.tools.doctor.run_checks import run_all_checks

__all__ = ["Finding", "Host", "Status", "count", "run_all_checks"]
