# Completion of rebootd for bash.
_rebootd() {
	local word=${COMP_WORDS[COMP_CWORD]}
	COMPREPLY=()
	if [[ $word == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W '--config= --node-name= --kubeconfig= --namespace= --host-root= --sentinel= --lock-name= --slots= --same= --max-unavailable= --node-lease= --node-lease-namespace= --node-lease-duration= --drain --drain-timeout= --drain-timeout-policy= --wait-for-jobs --completion-timeout= --volume-timeout= --hooks= --hook-timeout= --reboot-method= --reboot-command= --wall-message= --allow-soft-reboot --allow-kexec --reboot-timeout= --health-timeout= --system-running --health-command= --settle= --metrics-address= --log-level= --log-format= --dry-run --window= --window-end= --window-reserve= --deadline= --interval= --min-uptime= --blocking-conditions= --approval --blocking-pods= --wait-for-daemonsets --prometheus-url= --prometheus-ca= --prometheus-cert= --prometheus-key= --prometheus-token-file= --prometheus-header= --alerts= --alerts-ignore= --alerts-watchdog= --alerts-lookback= --preflight=' -- "$word")
		[[ ${COMP_WORDS[1]} != check-config ]] || mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -W '--node-labels=' -- "$word")
		[[ ${COMPREPLY[0]} != *= ]] || compopt -o nospace
	elif [[ $COMP_CWORD == 1 ]]; then
		mapfile -t COMPREPLY < <(compgen -W 'check-config help version' -- "$word")
	fi
}
complete -o default -F _rebootd rebootd
