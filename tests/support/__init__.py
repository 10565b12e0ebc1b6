"""What several test files share: tiny models, made-up texts and studies, and what is asserted in many places."""

import pkgutil

import pytest

# So that an assertion here says what it compared, as those in the tests do.
pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)))
