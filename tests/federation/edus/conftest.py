from collections.abc import Iterator

import pytest

from tests.federation.company import Company, company


@pytest.fixture(scope="package")
def between(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    with company(tmp_path_factory.mktemp("edus")) as both:
        yield both
