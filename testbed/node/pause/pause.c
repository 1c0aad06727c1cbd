/* What holds the namespaces of a pod: waits until it is told to end, and takes the orphans of the pod's processes.

   Without a C library, so that a C compiler is all it takes. Its signals are blocked and waited for: the first process of a
   namespace is sent none that it neither handles nor blocks. */

enum { SYS_EXIT = 60, SYS_WAIT4 = 61, SYS_RT_SIGPROCMASK = 14, SYS_RT_SIGTIMEDWAIT = 128 };
enum { INT = 2, TERM = 15, CHLD = 17, SIG_BLOCK = 0, NOHANG = 1 };

static long call(long number, long one, void *two, void *three, long four)
{
	long said;
	register long fourth __asm__("r10") = four;
	__asm__ volatile("syscall" : "=a"(said) : "0"(number), "D"(one), "S"(two), "d"(three), "r"(fourth) : "rcx", "r11", "memory");
	return said;
}

void _start(void)
{
	unsigned long awaited = 1ul << (INT - 1) | 1ul << (TERM - 1) | 1ul << (CHLD - 1);

	call(SYS_RT_SIGPROCMASK, SIG_BLOCK, &awaited, 0, sizeof(awaited));
	for (;;) {
		long signal = call(SYS_RT_SIGTIMEDWAIT, (long)&awaited, 0, 0, sizeof(awaited));
		if (signal == INT || signal == TERM)
			call(SYS_EXIT, 0, 0, 0, 0);
		while (call(SYS_WAIT4, -1, 0, (void *)NOHANG, 0) > 0)
			;
	}
}
