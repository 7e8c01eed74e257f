"""semiseg: semi-supervised segmentation that learns from labelled and unlabelled studies."""

import os

# OpenMP's threads wait by spinning, unless told before the library is loaded. With a training, its helper and an
# inference on one machine the spinning ones keep the cores from those they wait for: inferences were seen to take
# 70 times as long. Children of the server inherit it; the server's own process has loaded OpenMP before it sees us,
# so it segments on one thread while a training runs (lib/server/live.py).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
