"""The benchmark: the published table beside this machine's figures, and where the time goes."""
