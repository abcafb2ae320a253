"""What mastwatch wrote, as Python clients read it: CLIENT PORT USER PASSWORD."""
import json
import sys

client, port, user, password = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
if client == "librouteros":
    import librouteros

    api = librouteros.connect(host="127.0.0.1", port=port, username=user, password=password)

    def rows(path):
        return list(api(path + "/print"))

else:
    import routeros_api

    pool = routeros_api.RouterOsApiPool(
        "127.0.0.1", username=user, password=password, port=port, plaintext_login=True
    )
    api = pool.get_api()

    def rows(path):
        return api.get_resource(path).get()


(entry,) = [row for row in rows("/tool/netwatch") if row.get("comment", "").startswith("mastwatch:a ")]
(profile,) = [row for row in rows("/ppp/profile") if row["name"] == "default"]
(task,) = [row for row in rows("/system/scheduler") if row["name"] == "mastwatch-parked"]
assert [row["policy"] for row in rows("/system/script")] == ["read,write,test"]
assert (entry["host"], entry["interval"], entry["timeout"]) == ("10.9.9.9", "30s", "2s"), entry
read = {name: entry[name] for name in ("comment", "up-script", "down-script")}
read |= {name: profile[name] for name in ("on-up", "on-down")}
read |= {"on-event": task["on-event"]}
print(json.dumps(read))
