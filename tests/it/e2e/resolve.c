/*
 * Resolves names with the C library, as a program in a Pod does. It prints one line for each line
 * of its input:
 * - for `4 NAME` and `6 NAME`, the canonical name and the addresses;
 * - for `ptr ADDRESS`, the name of the address;
 * - after a failure, `error: ` and the message of the library.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

static int host(const struct sockaddr *address, socklen_t length, char *text, int flags)
{
	return getnameinfo(address, length, text, NI_MAXHOST, NULL, 0, flags);
}

static int addresses(int family, const char *name)
{
	struct addrinfo hints = { .ai_family = family, .ai_socktype = SOCK_DGRAM, .ai_flags = AI_CANONNAME };
	struct addrinfo *found;
	char text[NI_MAXHOST];
	int code = getaddrinfo(name, NULL, &hints, &found);

	if (code)
		return code;
	printf("%s", found->ai_canonname ? found->ai_canonname : name);
	for (struct addrinfo *each = found; each; each = each->ai_next)
		if (!host(each->ai_addr, each->ai_addrlen, text, NI_NUMERICHOST))
			printf(" %s", text);
	freeaddrinfo(found);
	return 0;
}

static int name_of(const char *address)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
	char text[NI_MAXHOST];
	int code;

	if (inet_pton(AF_INET, address, &v4.sin_addr) == 1)
		code = host((struct sockaddr *)&v4, sizeof v4, text, NI_NAMEREQD);
	else if (inet_pton(AF_INET6, address, &v6.sin6_addr) == 1)
		code = host((struct sockaddr *)&v6, sizeof v6, text, NI_NAMEREQD);
	else
		return EAI_NONAME;
	if (!code)
		printf("%s", text);
	return code;
}

int main(void)
{
	char line[2048], kind[8], name[1040];

	while (fgets(line, sizeof line, stdin)) {
		int code = EAI_NONAME;

		if (sscanf(line, "%7s %1039s", kind, name) == 2)
			code = strcmp(kind, "ptr") ? addresses(strcmp(kind, "6") ? AF_INET : AF_INET6, name) : name_of(name);
		if (code)
			printf("error: %s", gai_strerror(code));
		putchar('\n');
		fflush(stdout);
	}
	return 0;
}
