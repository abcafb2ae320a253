"""librouteros against the lab: PORT USER PASSWORD HOST-THAT-ANSWERS."""
import sys

import librouteros
from librouteros.exceptions import TrapError
from librouteros.query import Key

port, user, password, host = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
try:
    librouteros.connect(host="127.0.0.1", port=port, username=user, password="wrong")
    raise SystemExit("a wrong password was taken")
except TrapError as error:
    assert "invalid user name or password (6)" in str(error), error

api = librouteros.connect(host="127.0.0.1", port=port, username=user, password=password)
assert tuple(api("/system/identity/print")) == ({"name": "core"},)
addresses = api.path("/ip/firewall/address-list")
added = addresses.add(list="suspended", address="10.7.3.4", comment="a=b")
name, where, comment = Key("list"), Key("address"), Key("comment")
rows = tuple(addresses.select(where, comment).where(name == "suspended"))
assert rows == ({"address": "10.7.3.4", "comment": "a=b"},), rows
addresses.update(**{".id": added, "disabled": True})
assert [row["disabled"] for row in addresses] == [True]
try:
    addresses.add(list="suspended", address="10.7.3.4")
    raise SystemExit("a second row like the first was taken")
except TrapError as error:
    assert "already have" in str(error), error
addresses.remove(added)
assert tuple(addresses) == ()
try:
    tuple(api("/nosuch/print"))
    raise SystemExit("a menu that does not exist was printed")
except TrapError as error:
    assert "no such command" in str(error), error
echoes = tuple(api("/ping", address=host, count=2, interval="50ms"))
assert [row["received"] for row in echoes] == [1, 2], echoes
assert [row["host"] for row in api("/tool/netwatch/print")] == [host]
api.close()
print("librouteros is content")
