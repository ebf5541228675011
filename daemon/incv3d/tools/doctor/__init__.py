"""``incv3d doctor``: looks at the machine and the installation, and says what is wrong and how to mend it.

One module a field; each check is a function from a :class:`~incv3d.tools.doctor.host.Host` to a list of
:class:`~incv3d.tools.doctor.findings.Finding`. Nothing here imports NumPy, ZeroMQ or an engine before it
has seen in a child process that it can be imported.
"""

from incv3d.tools.doctor.findings import Finding, Status, count
from incv3d.tools.doctor.host import Host
from incv3d.tools.doctor.run_checks import run_all_checks

__all__ = ["Finding", "Host", "Status", "count", "run_all_checks"]
