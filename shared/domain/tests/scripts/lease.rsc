# mastwatch begin: what stands from here to its end is ours and is put right when it changes
:do {
  # Says that an address was leased or is free again. RouterOS 6.45 and later.
  :local url "http://192.0.2.10:8081/api/webhooks/mikrotik/dhcp-status"
  :local token "mw_pg2c5dgruwdz_0123456789"
  :local status "unbound"
  :local says "down"
  :if (("" . $leaseBound) = "1") do={
    :set status "bound"
    :set says "up"
  }
  :local hardware ("" . $leaseActMAC)
  :global mwboot
  :global mwseq
  :if ([:len $mwboot] = 0) do={
    :set mwboot ([/system clock get date] . "-" . [/system clock get time] . "-" . [/system resource get uptime])
    :set mwseq 0
  }
  :set mwseq ($mwseq + 1)
  :local seq $mwseq
  :local number (",\"boot\":\"" . $mwboot . "\",\"seq\":" . $seq . "}")
  :local body ("{\"mac\":\"" . $hardware . "\",\"address\":\"" . $leaseActIP . "\",\"status\":\"" . $status . "\"" . $number)
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
    :log warning ("mastwatch: could not say that " . $hardware . " is " . $status)
    :do {
      :local kept [/system script get [find name="mastwatch-parked"] source]
      :if ([:len $kept] < 3000) do={
        /system script set [find name="mastwatch-parked"] source=($kept . ",{\"mac\":\"" . $hardware . "\",\"says\":\"" . $says . "\",\"source\":\"dhcp\"" . $number . "\n")
      }
    } on-error={ :log warning "mastwatch: there is no place to keep it" }
  }
} on-error={ :log warning "mastwatch: the lease script stopped" }
# mastwatch end
