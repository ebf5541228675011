"""incv3d: a warmed Inception-v3 Session that stays warm, as a daemon.

Importing this package imports nothing else; see :mod:`incv3d.app.daemon` for the program and
:mod:`incv3d.client` for speaking to it from Python.
"""

__version__ = "0.2.0"
