# mastwatch begin: what stands from here to its end is ours and is put right when it changes
:do {
  # Says that a session of this concentrator is now offline. RouterOS 6.45 and later.
  :local url "http://192.0.2.10:8081/api/webhooks/mikrotik/ppp-status"
  :local token "mw_pg2c5dgruwdz_0123456789"
  :global mwboot
  :global mwseq
  :if ([:len $mwboot] = 0) do={
    :set mwboot ([/system clock get date] . "-" . [/system clock get time] . "-" . [/system resource get uptime])
    :set mwseq 0
  }
  :set mwseq ($mwseq + 1)
  :local seq $mwseq
  :local who $user
  :local safe ""
  :local i 0
  :while ($i < [:len $who]) do={
    :local c [:pick $who $i]
    :if (($c = "\"") || ($c = "\\")) do={ :set safe ($safe . "\\") }
    :set safe ($safe . $c)
    :set i ($i + 1)
  }
  :local number (",\"boot\":\"" . $mwboot . "\",\"seq\":" . $seq . "}")
  :local body ("{\"user\":\"" . $safe . "\",\"status\":\"offline\"" . $number)
  :local sent false
  :local tries 0
  :while (($sent = false) && ($tries < 3)) do={
    :do {
      /tool fetch url=$url http-method=post http-data=$body http-header-field=("Content-Type:application/json,Authorization:Bearer " . $token) check-certificate=no output=none
      :set sent true
    } on-error={
      :set tries ($tries + 1)
      :if ($tries < 3) do={ :delay 3s }
    }
  }
  :if ($sent = false) do={
    :log warning ("mastwatch: could not say that " . $who . " is offline")
    :do {
      :local kept [/system script get [find name="mastwatch-parked"] source]
      :if ([:len $kept] < 3000) do={
        /system script set [find name="mastwatch-parked"] source=($kept . ",{\"user\":\"" . $safe . "\",\"says\":\"down\",\"source\":\"ppp\"" . $number . "\n")
      }
    } on-error={ :log warning "mastwatch: there is no place to keep it" }
  }
} on-error={ :log warning "mastwatch: the script of this profile stopped" }
# mastwatch end
