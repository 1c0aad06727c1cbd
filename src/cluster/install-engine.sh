# Each step is done again until it works or the time is over, and says so on the console. cloud-init runs this in every
# boot until it is done, so what a reboot cuts off goes on.
set -u
umask 022
work=/run/testkit
script=$work/install-docker.sh
say() { echo "testkit: $*"; }
give_up() { say "giving up: $*"; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }
uptime() { cut -d. -f1 /proc/uptime; }
began=$(uptime)
left() {
	seconds=$((began + patience - $(uptime)))
	echo $((seconds > 1 ? seconds : 1))
}

# again WHAT COMMAND: pauses of 5, 10, 20 and from then on 30 s.
again() {
	try=1 pause=5
	until "$2"; do
		code=$? left=$(left)
		[ "$left" -gt "$pause" ] || give_up "$1 failed with status $code (try $try)"
		say "$1 failed with status $code (try $try); again in $pause s, for $left s yet"
		sleep "$pause"
		try=$((try + 1)) pause=$((pause < 15 ? pause * 2 : 30))
	done
}

fetcher() {
	if has curl || has wget; then return 0; fi
	say "there is neither curl nor wget here: curl is installed"
	if has apt-get; then apt-get -q update && apt-get -qy install curl ca-certificates; else dnf -qy install curl; fi
}
download() {
	rm -f "$script"
	# Wherever it is sent on to: what comes is run as root. Of wget that cannot be asked.
	if has curl; then curl -fsSL --proto =https --connect-timeout 15 -m 120 -o "$script" "$url"; else wget -nv -T 30 -t 1 -O "$script" "$url"; fi &&
		[ -s "$script" ]
}
install() {
	# What a reboot or the end of the time cut off in the middle of a package is finished first: nothing else is installed before.
	! has dpkg || dpkg --force-confdef --force-confold --configure -a </dev/null || say "dpkg has not finished what was cut off; going on"
	timeout -k 10 "$(left)" env "$how" sh "$script" </dev/null && has dockerd && return
	code=$?
	[ "$code" != 124 ] || say "$url is cut off: the time is over"
	return "$code"
}
start() { systemctl enable --now docker && systemctl is-active docker >/dev/null; }

case $(command -v docker) in /snap/*) give_up "this image has Docker as a snap, which keeps its settings to itself: name an image without it" ;; esac
case $url,$(sed -n 's/^ID="*\([a-z]*\).*/\1/p' /etc/os-release) in
*get.docker.com,amzn) give_up "Docker's script does not know Amazon Linux: name an image that has an engine, or a script of your own in spec.engine.installScript" ;;
esac
if ! has dockerd; then
	mkdir -p "$work"
	# Whoever else installs packages after a first boot, such as unattended-upgrades, is waited for; a package that asks
	# whether to keep a file of the image finds nobody.
	export APT_CONFIG=$work/apt.conf DEBIAN_FRONTEND=noninteractive
	cat >"$APT_CONFIG" <<-'END'
		DPkg::Lock::Timeout "20";
		DPkg::Options { "--force-confdef"; "--force-confold"; };
		Acquire::Retries "3";
	END
	say "there is no engine here: installing it by $url, within $patience s"
	again "finding curl or wget" fetcher
	again "downloading $url" download
	again "the script of $url" install
fi
again "starting docker" start
say "the engine is installed"
rm -rf "$work" "$0"
