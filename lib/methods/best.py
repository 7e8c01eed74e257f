"""Our composition, the strongest found on the development cases: cross-supervision under disturbed features.

From :class:`lib.methods.cross_pseudo.CrossPseudo` the two networks that teach each other, the mixed strong views and
the loss; from Ouali et al. (CVPR 2020), as in ``multiscale``, the disturbed features. What was tried beside these and
left out, with figures, stands in ``docs/reference/benchmarks.md``.
"""

from __future__ import annotations

from lib.methods.cross_pseudo import CrossPseudo


class Best(CrossPseudo):
    """Terms ``supervised`` and ``cross``."""

    disturbs = True
