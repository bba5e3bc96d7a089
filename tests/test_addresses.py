import pytest
from pydantic import TypeAdapter, ValidationError

from tests.plan.worlds import grid_of
from xlharm.addresses import Address
from xlharm.config.load import parse_grid
from xlharm.errors import UserError
from xlharm.remote.endpoint import Endpoint

ADDRESS = TypeAdapter[str](Address)
SECRETS = [
    "https://me:hunter2@host/v1", "https://hunter2@host/v1", "http://host/v1?api_key=hunter2", "http://host/v1?api-version=1&Token=hunter2",
    "https://host/v1?sig=hunter2",
]  # fmt: skip


@pytest.mark.parametrize("address", SECRETS)
def test_an_address_with_a_secret_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(ValidationError, match="expected an address without"):
        ADDRESS.validate_python(address)
    with pytest.raises(UserError, match=r"judges\.j\.url: expected an address without .* api_key_env") as caught:
        parse_grid(grid_of(judges={"j": {"kind": "chat", "url": address, "model": "m"}}), name="g")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ValidationError) as refused:
        Endpoint(url=address, model="m")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:8000/v1", "https://host/v1?api-version=2024-01-01", "http://[::1]:8000"]
)
def test_other_addresses_stay_as_they_are(address: str) -> None:
    assert ADDRESS.validate_python(address) == address


def test_what_is_no_address() -> None:
    for text in ("ftp://host", "http://[::1", "host/v1"):
        with pytest.raises(ValidationError):
            ADDRESS.validate_python(text)
