"""Settings for all tests: one thread each (two pytest workers share two cores) and no global state left behind."""

import os

# Before anything imports numpy or torch.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

from hypothesis import settings  # noqa: E402

settings.register_profile("lth_det", deadline=None, print_blob=True)
settings.load_profile("lth_det")
