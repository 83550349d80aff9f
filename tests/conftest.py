"""What holds for every test: time never decides one."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("gristmill", deadline=None, print_blob=True)
settings.load_profile("gristmill")
