# mastwatch: says what could not be said when it happened. RouterOS 6.45 and later.
# The script mastwatch-parked holds it, each line a comma and one signal.
:local url "http://192.0.2.10:8081/api/v1/signals"
:local fields ("Content-Type:application/json,Authorization:Bearer " . "mw_pg2c5dgruwdz_0123456789")
:global mwrefused
:local kept [/system script get [find name="mastwatch-parked"] source]
:local over false
:if ([:len $kept] > 0) do={
  :do {
    /tool fetch url=$url http-method=post http-data=("[" . [:pick $kept 1 [:len $kept]] . "]") http-header-field=$fields check-certificate=no output=none
    :set over true
  } on-error={
    # Whoever takes an empty list was reached. It may be unable to store for a while; not for an hour.
    :do {
      /tool fetch url=$url http-method=post http-data="[]" http-header-field=$fields check-certificate=no output=none
      :if ([:len $mwrefused] = 0) do={ :set mwrefused 0 }
      :set mwrefused ($mwrefused + 1)
      :if ($mwrefused >= 60) do={
        :set over true
        :log warning "mastwatch: what was kept is refused, and so forgotten"
      }
    } on-error={}
  }
}
:if ($over = true) do={
  :set mwrefused 0
  # When a line came meanwhile all stay, and are said once more: they are numbered.
  :if ([/system script get [find name="mastwatch-parked"] source] = $kept) do={
    /system script set [find name="mastwatch-parked"] source=""
  }
}
