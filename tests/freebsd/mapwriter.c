/*
 * mapwriter FILE PAGES: stores a growing number into each page of a shared mapping of FILE, again and again, and looks
 * each time whether the last one is still there. On SIGTERM it says how many pages went back and ends.
 */
#include <sys/mman.h>

#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PAGE 4096

static volatile sig_atomic_t ended;

static void
end(int signal)
{
	(void)signal;
	ended = 1;
}

int
main(int argc, char **argv)
{
	uint64_t round, lost;
	size_t pages, i;
	char *map;
	int fd;

	if (argc != 3 || (pages = strtoul(argv[2], NULL, 10)) == 0)
		errx(64, "usage: mapwriter FILE PAGES");
	signal(SIGTERM, end);
	fd = open(argv[1], O_RDWR | O_CREAT, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)(pages * PAGE)) != 0)
		err(71, "%s", argv[1]);
	map = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		err(71, "mmap %s", argv[1]);
	close(fd);
	lost = 0;
	for (i = 0; i < pages; i++)
		*(volatile uint64_t *)(void *)(map + i * PAGE) = 0;
	for (round = 0; !ended; round++) {
		for (i = 0; i < pages; i++) {
			volatile uint64_t *cell = (void *)(map + i * PAGE);

			if (*cell != round)
				lost++;
			*cell = round + 1;
		}
		usleep(1000);
	}
	printf("%ju\n", (uintmax_t)lost);
	return (0);
}
