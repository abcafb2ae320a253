"""RouterOS-api against the lab: PORT USER PASSWORD HOST-THAT-ANSWERS."""
import sys

import routeros_api
from routeros_api.exceptions import RouterOsApiCommunicationError

port, user, password, host = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]


def pool(secret):
    return routeros_api.RouterOsApiPool(
        "127.0.0.1", username=user, password=secret, port=port, plaintext_login=True
    )


try:
    pool("wrong").get_api()
    raise SystemExit("a wrong password was taken")
except RouterOsApiCommunicationError as error:
    assert b"invalid user name or password (6)" in str(error).encode(), error

connection = pool(password)
api = connection.get_api()
assert api.get_resource("/system/identity").get() == [{"name": "core"}]
addresses = api.get_resource("/ip/firewall/address-list")
addresses.add(list="suspended", address="10.7.3.5", comment="")
(row,) = addresses.get(list="suspended")
assert row["address"] == "10.7.3.5" and row["dynamic"] == "false", row
addresses.set(id=row["id"], comment="late")
(row,) = addresses.detailed_get(list="suspended")
assert row["comment"] == "late", row
addresses.remove(id=row["id"])
assert addresses.get() == []
try:
    addresses.remove(id="*FFFF")
    raise SystemExit("a row that does not exist was removed")
except RouterOsApiCommunicationError as error:
    assert "no such item" in str(error), error
echoes = api.get_binary_resource("/").call(
    "ping", {"address": host.encode(), "count": b"2", "interval": b"50ms"}
)
assert [row["received"] for row in echoes] == [b"1", b"2"], echoes
connection.disconnect()
print("RouterOS-api is content")
