// A netmap program written against the ABI alone: structures by their documented offsets, nothing of netmap's own.
// Each rule is one function; `client RULE` exits with 0, or says what was otherwise than the rule has it.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(c, ...) do { if (!(c)) { fprintf(stderr, "%s:%d: %s: ", __func__, __LINE__, #c); \
	fprintf(stderr, __VA_ARGS__); fprintf(stderr, " (errno %d: %s)\n", errno, strerror(errno)); exit(1); } } while (0)

enum { TXSYNC = 0x6994, RXSYNC = 0x6995 };
#define REGIF 0xc03c6992UL
#define GINFO 0xc03c6991UL
#define NIOCTRL 0xc0586997UL
#define CONFIG 0xc1106996UL
enum { REGISTER = 1, INFO, ATTACH, DETACH, LIST, HDR_SET, HDR_GET, NEWIF, DELIF, POLL_ON, POLL_OFF, POOLS, KLOOP_START,
	KLOOP_STOP, CSB_ENABLE };
enum { ALL_NIC = 1, SW = 2, ONE_NIC = 4 };
enum { MON_TX = 0x100, MON_RX = 0x200, ZCOPY = 0x400, EXCL = 0x800, VNET = 0x8000, NO_TX_POLL = 0x20000 };
enum { BUF_CHANGED = 1, NO_LEARN = 8, INDIRECT = 16, MOREFRAG = 32, TXMON = 64 };

struct hdr { uint16_t version, type; uint32_t reserved; char name[64]; uint64_t options, body; };
struct reg { uint64_t offset, memsize; uint32_t tx_slots, rx_slots; uint16_t tx_rings, rx_rings, htx, hrx, mem_id, ringid;
	uint32_t mode, extra; uint64_t flags; };
struct opt { uint64_t next; uint32_t type, status; uint64_t size; };
struct slot { uint32_t idx; uint16_t len, flags; uint64_t ptr; };
struct ring { int64_t buf_ofs; uint32_t slots, buf_size; uint16_t id, dir; volatile uint32_t head, cur, tail; uint32_t flags;
	uint64_t ts[2]; uint8_t rest[256 - 56]; struct slot slot[]; };
struct nifp { char name[16]; uint32_t version, flags, tx, rx, bufs_head, htx, hrx, spare[3]; int64_t ofs[]; };
struct nmreq { char name[16]; uint32_t version, offset, memsize, tx_slots, rx_slots; uint16_t tx_rings, rx_rings, ringid, cmd,
	arg1, arg2; uint32_t arg3, flags, spare; };
struct csb { uint32_t head, cur, need_kick, sync; uint32_t pad[12]; };

struct port { int fd; struct reg r; char *mem; struct nifp *nifp; };

static int open_dev(void) { int fd = open("/dev/netmap", O_RDWR); CHECK(fd >= 0, "open"); return fd; }

static int ctrl(int fd, int type, const char *name, void *body, void *options)
{
	struct hdr h = { .version = 14, .type = type, .options = (uintptr_t)options, .body = (uintptr_t)body };
	strncpy(h.name, name, 63);
	return ioctl(fd, NIOCTRL, &h);
}

static int fails(int rc, int want) { return rc == -1 && errno == want; }

static struct ring *ring(struct port *p, int n)
{
	return (void *)((char *)p->nifp + p->nifp->ofs[n]);
}
static struct ring *tx(struct port *p, int i) { return ring(p, i); }
static struct ring *rx(struct port *p, int i) { return ring(p, p->nifp->tx + p->nifp->htx + i); }
static char *buf(struct ring *r, uint32_t idx) { return (char *)r + r->buf_ofs + (size_t)idx * r->buf_size; }

static void map(struct port *p)
{
	p->mem = mmap(NULL, p->r.memsize, PROT_READ | PROT_WRITE, MAP_SHARED, p->fd, 0);
	CHECK(p->mem != MAP_FAILED, "mmap");
	p->nifp = (void *)(p->mem + p->r.offset);
}

static struct port reg(const char *name, struct reg r)
{
	struct port p = { .fd = open_dev(), .r = r };
	if (p.r.mode == 0)
		p.r.mode = ALL_NIC;
	CHECK(ctrl(p.fd, REGISTER, name, &p.r, NULL) == 0, "register %s", name);
	map(&p);
	return p;
}
#define OPEN(name, ...) reg(name, (struct reg){ __VA_ARGS__ })

static uint32_t next(struct ring *r, uint32_t i) { return i + 1 == r->slots ? 0 : i + 1; }

// One slot: `len` bytes of `fill` behind a header of addresses; the switch sees it at the next sync.
static void put(struct ring *r, int dst, int src, int fill, int len, int flags)
{
	CHECK(r->head != r->tail, "a free slot");
	struct slot *s = &r->slot[r->head];
	char *b = buf(r, s->idx);
	memset(b, fill, len);
	memset(b, dst, 6);
	memset(b + 6, src, 6);
	if (dst != 0xff) b[0] = 2;
	b[6] = 2;
	b[12] = 0x08; b[13] = 0;
	s->len = len;
	s->flags = flags;
	r->cur = r->head = next(r, r->head);
}

static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec / 1e9; }

// Waits for slots on a receive ring.
static uint32_t await(struct port *p, struct ring *r, uint32_t n)
{
	for (double end = now() + 20; now() < end; usleep(100)) {
		CHECK(ioctl(p->fd, RXSYNC) == 0, "rxsync");
		uint32_t have = (r->tail + r->slots - r->head) % r->slots;
		if (have >= n)
			return have;
	}
	CHECK(0, "%u slots came of %u", (r->tail + r->slots - r->head) % r->slots, n);
	return 0;
}

static void drained(struct port *p, struct ring *r)
{
	for (double end = now() + 20; now() < end; usleep(100)) {
		CHECK(ioctl(p->fd, TXSYNC) == 0, "txsync");
		if (next(r, r->tail) == r->head)
			return;
	}
	CHECK(0, "still pending: head %u tail %u", r->head, r->tail);
}

static struct slot *take(struct ring *r) { struct slot *s = &r->slot[r->head]; r->cur = r->head = next(r, r->head); return s; }

// Whether nothing is there once a frame that was sent later has come to another port.
static uint32_t there(struct port *p, struct ring *r)
{
	CHECK(ioctl(p->fd, RXSYNC) == 0, "rxsync");
	return (r->tail + r->slots - r->head) % r->slots;
}

static void errors(void)
{
	int fd = open_dev();
	struct reg r = { .mode = ALL_NIC };
	CHECK(fails(ioctl(fd, TXSYNC), ENXIO), "sync before register");
	CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED, "mmap before register");
	struct pollfd pf = { .fd = fd, .events = POLLIN };
	CHECK(poll(&pf, 1, 0) == 1 && pf.revents == POLLERR, "poll before register: %x", pf.revents);
	struct hdr h = { .version = 13, .type = REGISTER, .name = "vale0:e", .body = (uintptr_t)&r };
	CHECK(fails(ioctl(fd, NIOCTRL, &h), EINVAL), "API 13");
	h.version = 16;
	CHECK(fails(ioctl(fd, NIOCTRL, &h), EINVAL), "API 16");
	h.version = 14; h.reserved = 1;
	CHECK(fails(ioctl(fd, NIOCTRL, &h), EINVAL), "reserved");
	h.reserved = 0; h.type = 99;
	CHECK(fails(ioctl(fd, NIOCTRL, &h), EINVAL), "no such request");
	CHECK(fails(ctrl(fd, REGISTER, "vale0:e", NULL, NULL), EINVAL), "no body");
	CHECK(fails(ctrl(fd, DELIF, "x", &r, NULL), EINVAL), "a body too many");
	CHECK(fails(ctrl(fd, REGISTER, "vale0:e", (void *)0x10, NULL), EFAULT), "a body nowhere");
	CHECK(fails(ioctl(fd, NIOCTRL, (void *)0x10), EFAULT), "a header nowhere");
	CHECK(fails(ioctl(fd, 0x6998), EOPNOTSUPP), "an ioctl that is none");
	char config[272] = "vale0:e";
	CHECK(fails(ioctl(fd, CONFIG, config), EOPNOTSUPP), "NIOCCONFIG");
	int modes[] = { 0, SW, 5, 6, 99 };
	for (unsigned i = 0; i < 5; i++) {
		r = (struct reg){ .mode = modes[i] };
		CHECK(fails(ctrl(fd, REGISTER, "vale0:e", &r, NULL), EINVAL), "mode %d", modes[i]);
	}
	r = (struct reg){ .mode = ONE_NIC, .ringid = 7 };
	CHECK(fails(ctrl(fd, REGISTER, "vale0:e", &r, NULL), EINVAL), "ring 7");
	r = (struct reg){ .mode = ALL_NIC, .mem_id = 4242 };
	CHECK(fails(ctrl(fd, REGISTER, "vale0:e", &r, NULL), EINVAL), "memory 4242");
	r = (struct reg){ .mode = ALL_NIC };
	CHECK(fails(ctrl(fd, REGISTER, "no-such-if", &r, NULL), ENXIO), "no such interface");
	for (int type = 1; type < 9; type++) {
		if (type >= 2 && type <= 4)
			continue;
		struct { struct opt o; char more[80]; } o = { .o = { .type = type } };
		CHECK(fails(ctrl(fd, REGISTER, "vale0:e", &r, &o), EOPNOTSUPP), "option %d", type);
		CHECK(o.o.status == EOPNOTSUPP, "status of option %d: %u", type, o.o.status);
	}
	struct opt loop = { .type = 77 };
	loop.next = (uintptr_t)&loop;
	CHECK(fails(ctrl(fd, REGISTER, "vale0:e", &r, &loop), EMSGSIZE), "endless options");
	CHECK(ctrl(fd, REGISTER, "vale0:e", &r, NULL) == 0, "after all that");
	CHECK(fails(ctrl(fd, REGISTER, "vale0:e", &r, NULL), EBUSY), "twice");
	CHECK(mmap(NULL, r.memsize + 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED && errno == EINVAL, "too much");
	int other = open_dev();
	struct reg x = { .mode = ALL_NIC, .flags = EXCL };
	CHECK(fails(ctrl(other, REGISTER, "vale0:e", &x, NULL), EBUSY), "exclusive on a used port");
	CHECK(ctrl(other, REGISTER, "vale0:f", &x, NULL) == 0, "exclusive");
	x = (struct reg){ .mode = ALL_NIC };
	CHECK(fails(ctrl(open_dev(), REGISTER, "vale0:f", &x, NULL), EBUSY), "a port that somebody has for himself");
	close(other);
	x = (struct reg){ .mode = ALL_NIC };
	CHECK(ctrl(open_dev(), REGISTER, "vale0:f", &x, NULL) == 0, "once it is closed");
	uint64_t body[8] = { 11 };
	CHECK(fails(ctrl(fd, HDR_SET, "vale0:e", body, NULL), EINVAL), "header of 11");
	body[0] = 0;
	CHECK(fails(ctrl(fd, HDR_SET, "vale0:none", body, NULL), ENXIO), "header of no port");
	CHECK(fails(ctrl(fd, POOLS, "", body, NULL), ENXIO), "pools of nothing");
}

static void layout(void)
{
	struct port p = OPEN("vale0:l", .tx_rings = 2, .rx_rings = 3, .tx_slots = 100, .extra = 5);
	CHECK(p.r.tx_rings == 2 && p.r.rx_rings == 3 && p.r.tx_slots == 128 && p.r.extra == 5, "rings");
	CHECK(p.nifp->tx == 2 && p.nifp->rx == 3 && p.nifp->htx == 1 && p.nifp->hrx == 1, "netmap_if");
	CHECK(p.nifp->ofs[2] == 0 && p.nifp->ofs[6] == 0, "host rings are not bound");
	CHECK(p.r.mem_id > 1 && (p.nifp->flags & 1), "private memory");
	for (int i = 0; i < 2; i++) {
		struct ring *r = tx(&p, i);
		CHECK(r->slots == 128 && r->id == i && r->dir == 0 && r->head == 0 && r->cur == 0 && r->tail == 127, "tx");
		CHECK(r->buf_size >= 2048 && (uintptr_t)r % 128 == 0, "tx");
	}
	for (int i = 0; i < 3; i++) {
		struct ring *r = rx(&p, i);
		CHECK(r->id == i && r->dir == 1 && r->head == 0 && r->tail == 0, "rx");
		for (uint32_t s = 0; s < r->slots; s++)
			CHECK(r->slot[s].idx >= 2 && buf(r, r->slot[s].idx) + r->buf_size <= p.mem + p.r.memsize, "slot");
	}
	unsigned n = 0;
	for (uint32_t b = p.nifp->bufs_head; b; b = *(uint32_t *)buf(tx(&p, 0), b))
		n++;
	CHECK(n == 5, "%u extra buffers", n);
	// Another descriptor, for one pair only, sees the same memory and its own rings.
	struct port q = OPEN("vale0:l", .mode = ONE_NIC, .ringid = 1);
	CHECK(q.r.mem_id == p.r.mem_id && q.r.offset != p.r.offset, "the same memory");
	CHECK(!q.nifp->ofs[0] && q.nifp->ofs[1] && !q.nifp->ofs[3] && q.nifp->ofs[4] && !q.nifp->ofs[5], "its ring");
	CHECK((char *)tx(&q, 1) - q.mem == (char *)tx(&p, 1) - p.mem, "where the other has it");
}

static void sends(void)
{
	struct port a = OPEN("vale0:a"), b = OPEN("vale0:b");
	struct ring *t = tx(&a, 0), *r = rx(&b, 0);
	for (int round = 0; round < 40; round++) {
		for (int i = 0; i < 100; i++)
			put(t, 0xff, 1, round ^ i, 60 + i, 0);
		drained(&a, t);
		await(&b, r, 100);
		for (int i = 0; i < 100; i++) {
			struct slot *s = take(r);
			unsigned char *c = (void *)buf(r, s->idx);
			CHECK(s->len == 60 + i && c[20] == (round ^ i) && c[s->len - 1] == (round ^ i), "frame %d", i);
			CHECK(s->flags >> 8 == 1, "fragments: flags %x", s->flags);
		}
		CHECK(r->ts[0] > 1000000000, "time stamp");
	}
	CHECK(ioctl(b.fd, RXSYNC) == 0 && r->head == r->tail, "no more than was sent");
}

// poll, select and epoll: flush what is to be sent, wait for what comes, and tell of it.
static void waits(void)
{
	struct port a = OPEN("vale0:a"), b = OPEN("vale0:b");
	struct ring *t = tx(&a, 0), *r = rx(&b, 0);
	struct pollfd pa = { .fd = a.fd, .events = POLLOUT }, pb = { .fd = b.fd, .events = POLLIN };
	CHECK(poll(&pa, 1, 0) == 1 && pa.revents == POLLOUT, "room at first");
	CHECK(poll(&pb, 1, 20) == 0 && pb.revents == 0, "nothing at first");
	put(t, 0xff, 1, 1, 60, 0);
	// A poll for reading sends, too.
	pa.events = POLLIN;
	CHECK(poll(&pa, 1, 0) == 0, "nothing to read");
	CHECK(poll(&pb, 1, 20000) == 1 && pb.revents == POLLIN, "by poll");
	take(r);
	put(t, 0xff, 1, 2, 60, 0);
	fd_set in, out;
	FD_ZERO(&in); FD_ZERO(&out); FD_SET(b.fd, &in); FD_SET(a.fd, &out);
	struct timeval tv = { 20, 0 };
	CHECK(select(b.fd + 1, NULL, &out, NULL, &tv) == 1 && FD_ISSET(a.fd, &out), "select to write");
	CHECK(select(b.fd + 1, &in, NULL, NULL, &tv) == 1 && FD_ISSET(b.fd, &in), "select to read");
	take(r);
	int ep = epoll_create1(0), pipes[2];
	CHECK(pipe(pipes) == 0, "pipe");
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = 7 }, f = { .events = EPOLLIN, .data.u64 = 8 }, got[4];
	CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, b.fd, &e) == 0 && epoll_ctl(ep, EPOLL_CTL_ADD, pipes[0], &f) == 0, "epoll_ctl");
	CHECK(fails(epoll_ctl(ep, EPOLL_CTL_ADD, b.fd, &e), EEXIST), "twice");
	CHECK(epoll_wait(ep, got, 4, 20) == 0, "nothing");
	CHECK(write(pipes[1], "x", 1) == 1 && epoll_wait(ep, got, 4, 20000) == 1 && got[0].data.u64 == 8, "a pipe beside");
	put(t, 0xff, 1, 3, 60, 0);
	CHECK(ioctl(a.fd, TXSYNC) == 0, "txsync");
	await(&b, r, 1);
	int n = epoll_wait(ep, got, 4, 20000);
	CHECK(n == 2, "both: %d", n);
	char c;
	CHECK(read(pipes[0], &c, 1) == 1, "read");
	take(r);
	// An edge is told once, until something more comes; this also wakes a waiter that has slept.
	e.events = EPOLLIN | EPOLLET;
	CHECK(epoll_ctl(ep, EPOLL_CTL_MOD, b.fd, &e) == 0, "epoll_ctl");
	put(t, 0xff, 1, 4, 60, 0);
	CHECK(ioctl(a.fd, TXSYNC) == 0 && epoll_wait(ep, got, 4, 20000) == 1 && got[0].data.u64 == 7, "an edge");
	CHECK(epoll_wait(ep, got, 4, 50) == 0, "told already");
	put(t, 0xff, 1, 5, 60, 0);
	CHECK(ioctl(a.fd, TXSYNC) == 0 && epoll_wait(ep, got, 4, 20000) == 1, "another edge");
	CHECK(epoll_ctl(ep, EPOLL_CTL_DEL, b.fd, NULL) == 0 && fails(epoll_ctl(ep, EPOLL_CTL_DEL, b.fd, NULL), ENOENT), "gone");
	while (there(&b, r)) take(r);
	// Sleeping on an empty ring, woken by another thread's frame.
	pid_t child = fork();
	if (child == 0) {
		usleep(100000);
		put(t, 0xff, 1, 6, 60, 0);
		_exit(ioctl(a.fd, TXSYNC) != 0);
	}
	CHECK(poll(&pb, 1, 20000) == 1 && pb.revents == POLLIN, "woken");
	int status;
	CHECK(waitpid(child, &status, 0) == child && status == 0, "child %x", status);
	// A port that does not flush by poll.
	struct port q = OPEN("vale0:q", .flags = NO_TX_POLL);
	while (there(&b, r)) take(r);
	put(tx(&q, 0), 0xff, 9, 9, 60, 0);
	struct pollfd pq = { .fd = q.fd, .events = POLLIN };
	CHECK(poll(&pq, 1, 0) == 0, "nothing to read");
	put(t, 0xff, 1, 7, 60, 0);
	CHECK(ioctl(a.fd, TXSYNC) == 0, "txsync");
	await(&b, r, 1);
	CHECK(buf(r, r->slot[r->head].idx)[20] == 7 && there(&b, r) == 1, "was not flushed");
	pq.events = POLLOUT;
	CHECK(poll(&pq, 1, 0) == 1, "asked for");
	await(&b, r, 2);
}

static void frames(void)
{
	struct port a = OPEN("vale0:a"), b = OPEN("vale0:b");
	struct ring *t = tx(&a, 0), *r = rx(&b, 0);
	// Three slots, one frame.
	put(t, 0xff, 1, 1, 500, MOREFRAG);
	put(t, 0xff, 1, 2, 500, MOREFRAG);
	put(t, 0xff, 1, 3, 500, 0);
	drained(&a, t);
	await(&b, r, 1);
	struct slot *s = take(r);
	CHECK(s->len == 1500 && !(s->flags & MOREFRAG), "gathered: %u bytes, flags %x", s->len, s->flags);
	CHECK(buf(r, s->idx)[499] == 1 && buf(r, s->idx)[999] == 2 && buf(r, s->idx)[1499] == 3, "in order");
	// A frame longer than a buffer.
	for (int i = 0; i < 3; i++)
		put(t, 0xff, 1, 4 + i, 2000, i < 2 ? MOREFRAG : 0);
	drained(&a, t);
	await(&b, r, 3);
	unsigned len = 0, frags = (6000 + r->buf_size - 1) / r->buf_size;
	for (unsigned i = 0; i < frags; i++) {
		s = take(r);
		len += s->len;
		CHECK(s->flags >> 8 == frags && !!(s->flags & MOREFRAG) == (i + 1 < frags), "slot %u: flags %x", i, s->flags);
	}
	CHECK(len == 6000, "%u bytes", len);
	// Data that is not in a buffer.
	static char data[100];
	memset(data, 0x5a, sizeof data);
	memset(data, 0xff, 6);
	data[6] = 2;
	put(t, 0xff, 1, 0, 100, INDIRECT);
	t->slot[(t->head + t->slots - 1) % t->slots].ptr = (uintptr_t)data;
	drained(&a, t);
	await(&b, r, 1);
	s = take(r);
	CHECK(s->len == 100 && memcmp(buf(r, s->idx), data, 100) == 0, "indirect");
}

static void buffers(void)
{
	struct port a = OPEN("vale0:a", .extra = 4), b = OPEN("vale0:b");
	struct ring *t = tx(&a, 0), *r = rx(&b, 0);
	// What was put into a transmit buffer stays there.
	put(t, 0xff, 1, 0x77, 60, 0);
	drained(&a, t);
	CHECK(buf(t, t->slot[0].idx)[30] == 0x77 && !(t->slot[0].flags & BUF_CHANGED), "stable");
	await(&b, r, 1); take(r);
	// An extra buffer in place of the slot's own.
	uint32_t extra = a.nifp->bufs_head, own = t->slot[t->head].idx;
	CHECK(extra >= 2, "an extra buffer");
	a.nifp->bufs_head = *(uint32_t *)buf(t, extra);
	t->slot[t->head].idx = extra;
	put(t, 0xff, 1, 0x42, 70, BUF_CHANGED);
	drained(&a, t);
	await(&b, r, 1);
	CHECK(buf(r, take(r)->idx)[30] == 0x42, "sent from an extra buffer");
	*(uint32_t *)buf(t, own) = a.nifp->bufs_head;
	a.nifp->bufs_head = own;
	close(a.fd);
	// A buffer that does not exist costs the frame, and nothing else.
	struct port c = OPEN("vale0:c");
	t = tx(&c, 0);
	uint32_t good = t->slot[0].idx;
	put(t, 0xff, 1, 1, 60, 0);
	t->slot[0].idx = 0x7fffffff;
	put(t, 0xff, 1, 2, 60, 0);
	drained(&c, t);
	await(&b, r, 1);
	CHECK(buf(r, take(r)->idx)[30] == 2 && there(&b, r) == 0, "only the second");
	t->slot[0].idx = good;
}

static void resets(void)
{
	struct port a = OPEN("vale0:a");
	struct ring *t = tx(&a, 0);
	put(t, 0xff, 1, 1, 60, 0);
	drained(&a, t);
	struct pollfd p = { .fd = a.fd, .events = POLLOUT };
	t->slot[5].idx = 0;
	t->head = t->cur = 70000;
	CHECK(ioctl(a.fd, TXSYNC) == 0, "an ioctl does not tell");
	CHECK(t->head == 1 && t->cur == 1, "set back to %u %u", t->head, t->cur);
	t->cur = 70000;
	CHECK(poll(&p, 1, 1000) == 1 && (p.revents & POLLERR), "poll tells: %x", p.revents);
	CHECK(poll(&p, 1, 1000) == 1 && p.revents == POLLOUT, "and goes on: %x", p.revents);
	// The tail is the switch's.
	uint32_t tail = t->tail;
	t->tail = 3;
	CHECK(ioctl(a.fd, TXSYNC) == 0 && t->tail == tail, "repaired");
}

static void pipes(void)
{
	struct port m = OPEN("vale0:p{x", .tx_slots = 20), s = OPEN("vale0:p}x");
	CHECK(m.r.mem_id == s.r.mem_id && m.r.tx_slots == 20 && s.r.rx_slots == 20, "one memory");
	struct ring *t = tx(&m, 0), *r = rx(&s, 0);
	struct pollfd pt = { .fd = m.fd, .events = POLLOUT }, pr = { .fd = s.fd, .events = POLLIN };
	CHECK(poll(&pr, 1, 10) == 0, "empty");
	uint32_t seen[64];
	for (unsigned i = 0; i < 19; i++) {
		seen[i] = t->slot[t->head].idx;
		put(t, 0xff, 1, i, 60 + i, 0);
		t->slot[i].ptr = 1000 + i;
	}
	CHECK(poll(&pt, 1, 10) == 0, "full: nobody drops");
	CHECK(poll(&pr, 1, 20000) == 1, "to read");
	for (unsigned i = 0; i < 19; i++) {
		struct slot *x = take(r);
		CHECK(x->idx == seen[i] && x->len == 60 + i && x->ptr == 1000 + i, "slot %u: the buffer itself", i);
	}
	CHECK(ioctl(s.fd, RXSYNC) == 0 && poll(&pt, 1, 20000) == 1, "room again");
	// Half a frame is not shown.
	put(t, 0xff, 1, 1, 60, MOREFRAG);
	CHECK(ioctl(m.fd, TXSYNC) == 0 && there(&s, r) == 0, "half a frame");
	put(t, 0xff, 1, 1, 60, 0);
	CHECK(ioctl(m.fd, TXSYNC) == 0 && there(&s, r) == 2, "a whole one");
	// A sleeper is woken by the other end in another process.
	take(r); take(r);
	pid_t child = fork();
	if (child == 0) {
		usleep(50000);
		put(t, 0xff, 1, 9, 60, 0);
		_exit(ioctl(m.fd, TXSYNC) != 0);
	}
	CHECK(poll(&pr, 1, 20000) == 1, "woken");
	int status;
	CHECK(waitpid(child, &status, 0) == child && status == 0, "child");
	struct reg sw = { .mode = SW };
	CHECK(fails(ctrl(open_dev(), REGISTER, "vale0:p{y", &sw, NULL), EINVAL), "pipes have no host rings");
	sw = (struct reg){ .mode = ALL_NIC };
	CHECK(fails(ctrl(open_dev(), REGISTER, "vale0:p{", &sw, NULL), EINVAL), "no name");
	// A pipe of a port that does not exist.
	struct port x = OPEN("loose{1"), y = OPEN("loose}1");
	put(tx(&y, 0), 0xff, 1, 3, 60, 0);
	CHECK(ioctl(y.fd, TXSYNC) == 0 && there(&x, rx(&x, 0)) == 1, "the other way round");
}

static void monitors(void)
{
	struct reg early = { .mode = ALL_NIC, .flags = MON_TX };
	CHECK(fails(ctrl(open_dev(), REGISTER, "vale0:a", &early, NULL), EINVAL), "of a port that nobody has open");
	struct port a = OPEN("vale0:a"), b = OPEN("vale0:b");
	struct port mt = OPEN("vale0:a", .flags = MON_TX), mr = OPEN("vale0:b", .flags = MON_RX);
	struct port z = OPEN("vale0:b", .flags = ZCOPY);
	CHECK(z.r.mem_id == b.r.mem_id, "zero-copy shares memory");
	put(tx(&a, 0), 0xff, 1, 0x31, 80, 0);
	drained(&a, tx(&a, 0));
	await(&mt, rx(&mt, 0), 1);
	struct slot *s = take(rx(&mt, 0));
	CHECK(s->len == 80 && (s->flags & TXMON) && buf(rx(&mt, 0), s->idx)[40] == 0x31, "sent");
	// Seen without the owner doing anything.
	await(&mr, rx(&mr, 0), 1);
	s = take(rx(&mr, 0));
	CHECK(s->len == 80 && !(s->flags & TXMON) && buf(rx(&mr, 0), s->idx)[40] == 0x31, "received");
	struct pollfd pm = { .fd = mr.fd, .events = POLLIN };
	CHECK(poll(&pm, 1, 20) == 0, "once");
	CHECK(there(&z, rx(&z, 0)) == 0, "not before its owner is done");
	struct ring *r = rx(&b, 0);
	await(&b, r, 1);
	uint32_t idx = r->slot[r->head].idx, at = r->head;
	take(r);
	CHECK(ioctl(b.fd, RXSYNC) == 0 && there(&z, rx(&z, 0)) == 1, "done");
	s = take(rx(&z, 0));
	CHECK(s->idx == idx && s->len == 80, "the buffer itself");
	CHECK(r->slot[at].idx != idx && (r->slot[at].flags & BUF_CHANGED), "another in its place");
	CHECK(fails(ioctl(mt.fd, TXSYNC), EIO), "monitors do not send");
	// What is watched goes.
	close(a.fd);
	for (double end = now() + 20;; usleep(1000)) {
		if (ioctl(mt.fd, RXSYNC) == -1 && errno == EIO)
			break;
		CHECK(now() < end, "an orphan");
	}
}

static void headers(void)
{
	struct port a = OPEN("vale0:a"), b = OPEN("vale0:b"), c = OPEN("vale0:c");
	uint64_t len = 12;
	CHECK(ctrl(a.fd, HDR_SET, "vale0:a", &len, NULL) == 0, "set");
	len = 0;
	CHECK(ctrl(a.fd, HDR_GET, "vale0:a", &len, NULL) == 0 && len == 12, "get");
	struct reg r = { .mode = ALL_NIC };
	CHECK(fails(ctrl(open_dev(), REGISTER, "vale0:a", &r, NULL), EIO), "a program that does not know of headers");
	len = 10;
	CHECK(ctrl(c.fd, HDR_SET, "vale0:c", &len, NULL) == 0, "set");
	// From 12 bytes of header to none and to 10.
	struct ring *t = tx(&a, 0);
	put(t, 0, 0, 0, 72, 0);
	unsigned char *p = (void *)buf(t, t->slot[0].idx);
	memset(p, 0, 12);
	memset(p + 12, 0xff, 6);
	memset(p + 18, 2, 6);
	memset(p + 24, 0x55, 48);
	p[24] = 8; p[25] = 0;
	drained(&a, t);
	await(&b, rx(&b, 0), 1);
	struct slot *s = take(rx(&b, 0));
	CHECK(s->len == 60 && memcmp(buf(rx(&b, 0), s->idx), p + 12, 60) == 0, "stripped: %u bytes", s->len);
	await(&c, rx(&c, 0), 1);
	s = take(rx(&c, 0));
	CHECK(s->len == 70 && memcmp(buf(rx(&c, 0), s->idx) + 10, p + 12, 60) == 0, "exchanged: %u bytes", s->len);
	// From none.
	put(tx(&b, 0), 0xff, 3, 0x66, 60, 0);
	drained(&b, tx(&b, 0));
	await(&a, rx(&a, 0), 1);
	s = take(rx(&a, 0));
	p = (void *)buf(rx(&a, 0), s->idx);
	CHECK(s->len == 72 && p[0] == 0 && p[12] == 0xff && p[50] == 0x66, "added: %u bytes", s->len);
	// A checksum that is left to do: done for whoever has no header, handed on to whoever has.
	put(t, 0, 0, 0, 12 + 14 + 28, 0);
	p = (void *)buf(t, t->slot[1].idx);
	memset(p, 0, 12 + 14 + 28);
	p[0] = 1; p[6] = 34; p[8] = 6;
	memset(p + 12, 0xff, 6);
	p[18] = 2;
	p[24] = 8;
	unsigned char *ip = p + 26;
	ip[0] = 0x45; ip[3] = 28; ip[8] = 64; ip[9] = 17; ip[12] = 10; ip[15] = 1; ip[16] = 10; ip[19] = 2;
	ip[24] = 0; ip[25] = 8;
	drained(&a, t);
	await(&b, rx(&b, 0), 1);
	s = take(rx(&b, 0));
	p = (void *)buf(rx(&b, 0), s->idx);
	CHECK(s->len == 42 && (p[40] | p[41]), "computed: %u bytes, %02x%02x", s->len, p[40], p[41]);
	await(&c, rx(&c, 0), 2);
	take(rx(&c, 0)); // What b sent.
	s = take(rx(&c, 0));
	p = (void *)buf(rx(&c, 0), s->idx);
	CHECK(s->len == 52 && p[0] == 1 && p[6] == 34 && !p[50] && !p[51], "handed on: %u bytes", s->len);
}

static uint32_t index_of(int fd, const char *name)
{
	uint32_t b[2] = { 0, 0 };
	CHECK(ctrl(fd, LIST, name, b, NULL) == 0, "index of %s", name);
	return b[1];
}

static void steering(void)
{
	struct port a = OPEN("vale0:a"), b = OPEN("vale0:b"), c = OPEN("vale0:c");
	struct ring *t = tx(&a, 0), *rb = rx(&b, 0), *rc = rx(&c, 0);
	// Address 5 is behind b, but the switch is not to know.
	put(tx(&b, 0), 0xff, 5, 0, 60, NO_LEARN);
	drained(&b, tx(&b, 0));
	put(t, 5, 1, 1, 60, 0);
	drained(&a, t);
	await(&b, rb, 1);
	await(&c, rc, 2);
	take(rb); take(rc); take(rc);
	// Now it may.
	put(tx(&b, 0), 0xff, 5, 0, 60, 0);
	drained(&b, tx(&b, 0));
	await(&c, rc, 1);
	take(rc);
	put(t, 5, 1, 2, 60, 0);
	// A port named in the flags gets the frame, whatever the address.
	uint32_t to = index_of(c.fd, "vale0:c");
	CHECK(to > 0 && to < 255, "index %u", to);
	put(t, 5, 1, 3, 60, to << 8);
	drained(&a, t);
	await(&b, rb, 1);
	await(&c, rc, 1);
	CHECK(buf(rb, take(rb)->idx)[30] == 2 && buf(rc, take(rc)->idx)[30] == 3, "to the right ones");
	CHECK(there(&b, rb) == 0 && there(&c, rc) == 0, "and nowhere else");
}

static int send_fd(int sock, int fd)
{
	char c = 0, room[CMSG_SPACE(sizeof fd)] = { 0 };
	struct iovec v = { &c, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room };
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	h->cmsg_level = SOL_SOCKET; h->cmsg_type = SCM_RIGHTS; h->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(h), &fd, sizeof fd);
	return sendmsg(sock, &m, 0) == 1 ? 0 : -1;
}

// Another program image: receives a descriptor and sends by it.
static void receiver(void)
{
	char c, room[CMSG_SPACE(sizeof(int))];
	struct iovec v = { &c, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room };
	CHECK(recvmsg(0, &m, 0) == 1, "recvmsg");
	struct port p = { 0 };
	memcpy(&p.fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof p.fd);
	struct { uint64_t memsize, offset; } at;
	CHECK(read(0, &at, sizeof at) == sizeof at, "read");
	p.r.memsize = at.memsize;
	p.r.offset = at.offset;
	map(&p);
	put(tx(&p, 0), 0xff, 1, 0x21, 60, 0);
	drained(&p, tx(&p, 0));
}

static void descriptors(void)
{
	struct port a = OPEN("vale0:a"), b = OPEN("vale0:b");
	struct ring *r = rx(&b, 0);
	// A duplicate is the same port, and outlives the original.
	struct port d = a;
	d.fd = dup(a.fd);
	CHECK(d.fd >= 0 && close(a.fd) == 0, "dup");
	put(tx(&d, 0), 0xff, 1, 0x11, 60, 0);
	drained(&d, tx(&d, 0));
	await(&b, r, 1);
	take(r);
	int high = fcntl(d.fd, F_DUPFD_CLOEXEC, 100), two = dup2(d.fd, 90);
	CHECK(high >= 100 && two == 90 && ioctl(high, TXSYNC) == 0 && ioctl(two, TXSYNC) == 0, "more of them");
	close(d.fd); close(two);
	d.fd = high;
	// A child has it, too.
	pid_t child = fork();
	if (child == 0) {
		put(tx(&d, 0), 0xff, 1, 0x12, 60, 0);
		drained(&d, tx(&d, 0));
		_exit(0);
	}
	int status;
	CHECK(waitpid(child, &status, 0) == child && status == 0, "child %x", status);
	await(&b, r, 1);
	CHECK(buf(r, take(r)->idx)[30] == 0x12, "from the child");
	// And so has a process that it is sent to.
	int sv[2];
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sv) == 0, "socketpair");
	child = fork();
	if (child == 0) {
		dup2(sv[0], 0);
		close(sv[0]); close(sv[1]);
		execl("/proc/self/exe", "client", "receiver", (char *)NULL);
		_exit(9);
	}
	struct { uint64_t memsize, offset; } at = { d.r.memsize, d.r.offset };
	CHECK(send_fd(sv[1], d.fd) == 0 && write(sv[1], &at, sizeof at) == sizeof at, "send");
	CHECK(waitpid(child, &status, 0) == child && status == 0, "receiver %x", status);
	await(&b, r, 1);
	CHECK(buf(r, take(r)->idx)[30] == 0x21, "from the receiver");
	// The last one closed: the port is gone.
	struct reg x = { .mode = ALL_NIC, .flags = EXCL };
	CHECK(fails(ctrl(open_dev(), REGISTER, "vale0:a", &x, NULL), EBUSY), "still open");
	close(d.fd);
	CHECK(ctrl(open_dev(), REGISTER, "vale0:a", &x, NULL) == 0, "free");
}

static void legacy(void)
{
	int fd = open_dev();
	struct nmreq r = { .name = "vale0:old", .version = 13 };
	CHECK(fails(ioctl(fd, REGIF, &r), EINVAL), "version 13");
	r.version = 14;
	r.arg3 = 3;
	CHECK(ioctl(fd, REGIF, &r) == 0 && r.memsize && r.offset && r.tx_rings == 1 && r.arg2 > 1 && r.arg3 == 3, "register");
	struct port p = { .fd = fd, .r = { .memsize = r.memsize, .offset = r.offset } };
	map(&p);
	CHECK(p.nifp->tx == 1 && tx(&p, 0)->tail == 1023, "rings");
	struct nmreq i = { .name = "vale0:old", .version = 14 };
	CHECK(ioctl(fd, GINFO, &i) == 0 && i.memsize == r.memsize && i.rx_slots == 1024, "info");
	// Pipes by mode and number.
	struct nmreq m = { .name = "vale0:old", .version = 14, .ringid = 3, .flags = 5 };
	int pipe = open_dev();
	CHECK(ioctl(pipe, REGIF, &m) == 0 && m.arg2 == r.arg2, "pipe");
	struct reg s = { .mode = ALL_NIC };
	CHECK(ctrl(open_dev(), REGISTER, "vale0:old}3", &s, NULL) == 0 && s.mem_id == r.arg2, "its other end");
	struct nmreq h = { .name = "vale0:old", .version = 14, .cmd = 5, .arg1 = 10 };
	CHECK(ioctl(fd, REGIF, &h) == 0, "header");
	h.cmd = 12; h.arg1 = 0;
	CHECK(ioctl(fd, REGIF, &h) == 0 && h.arg1 == 10, "header of %u", h.arg1);
	struct nmreq n = { .name = "per", .version = 14, .cmd = 6 }, at = { .name = "vale0:per", .version = 14, .cmd = 1 };
	CHECK(ioctl(fd, REGIF, &n) == 0 && ioctl(fd, REGIF, &at) == 0, "a persistent port");
	struct nmreq l = { .version = 14, .cmd = 4 };
	int ports = 0;
	for (; ioctl(fd, GINFO, &l) == 0; l.arg2++, l.name[0] = 0, ports++)
		if (ports > 10) break;
	CHECK(errno == ENOENT && ports == 2, "%d listed", ports);
	at.cmd = 2; n.cmd = 7;
	CHECK(ioctl(fd, REGIF, &at) == 0 && ioctl(fd, REGIF, &n) == 0, "and away again");
}

static void switches(void)
{
	int fd = open_dev();
	uint32_t newif[4] = { 0 };
	struct { struct reg r; uint32_t index, pad; } at = { .r = { .mode = ALL_NIC } };
	uint32_t list[2] = { 0 };
	CHECK(ctrl(fd, NEWIF, "per", newif, NULL) == 0, "new");
	CHECK(fails(ctrl(fd, NEWIF, "per", newif, NULL), EEXIST), "twice");
	CHECK(fails(ctrl(fd, NEWIF, "valex", newif, NULL), EINVAL), "a VALE name");
	CHECK(fails(ctrl(fd, ATTACH, "vale7:none", &at, NULL), EINVAL), "what is not there");
	CHECK(ctrl(fd, ATTACH, "vale7:per", &at, NULL) == 0, "attach to a switch that is made for it");
	CHECK(fails(ctrl(fd, ATTACH, "vale7:per", &at, NULL), EBUSY), "twice");
	CHECK(ctrl(fd, ATTACH, "vale8:per", &at, NULL) == 0, "to another, too");
	CHECK(ctrl(fd, LIST, "vale7:per", list, NULL) == 0 && list[1] == 0, "index");
	CHECK(ctrl(fd, LIST, "vale7:none", list, NULL) == 0 && list[1] == 255, "no port");
	CHECK(fails(ctrl(fd, LIST, "vale9:none", list, NULL), ENOENT), "no switch");
	CHECK(fails(ctrl(fd, LIST, "eth0", list, NULL), EINVAL), "no VALE name");
	struct port p = OPEN("vale7:per"), q = OPEN("vale7:eph");
	put(tx(&q, 0), 0xff, 1, 1, 60, 0);
	drained(&q, tx(&q, 0));
	await(&p, rx(&p, 0), 1);
	uint32_t none[2];
	CHECK(fails(ctrl(fd, DETACH, "vale7:per", none, NULL), EBUSY), "in use");
	CHECK(fails(ctrl(fd, DELIF, "per", NULL, NULL), EBUSY), "in use");
	close(p.fd);
	CHECK(ctrl(fd, DETACH, "vale7:per", none, NULL) == 0 && ctrl(fd, DETACH, "vale8:per", none, NULL) == 0, "detach");
	CHECK(fails(ctrl(fd, DETACH, "vale7:per", none, NULL), ENXIO), "twice");
	CHECK(ctrl(fd, DELIF, "per", NULL, NULL) == 0 && fails(ctrl(fd, DELIF, "per", NULL, NULL), ENXIO), "delete");
	uint32_t poll_on[4] = { 1, 0, 1 };
	CHECK(fails(ctrl(fd, POLL_ON, "vale7:eph", poll_on, NULL), EINVAL), "polling what is no interface");
}

static void denied(void)
{
	struct reg r = { .mode = ALL_NIC };
	CHECK(fails(ctrl(open_dev(), REGISTER, "vale9:a", &r, NULL), ENXIO), "a switch that is not there");
	r = (struct reg){ .mode = ALL_NIC };
	CHECK(fails(ctrl(open_dev(), REGISTER, "vale0:new", &r, NULL), ENXIO), "a port that is not there");
	OPEN("vale0:a");
}

static volatile int loop_rc = -1;
static void *kloop(void *fd)
{
	uint64_t start = 100;
	loop_rc = ctrl((int)(intptr_t)fd, KLOOP_START, "", &start, NULL);
	return NULL;
}

static void csb(void)
{
	static struct csb atok[2] __attribute__((aligned(64))), ktoa[2] __attribute__((aligned(64)));
	struct { struct opt o; uint64_t atok, ktoa; } o =
		{ { .type = 3 }, (uintptr_t)atok, (uintptr_t)ktoa }, bad = { { .type = 3 }, 0x10, 0x800 };
	struct port a = { .fd = open_dev(), .r = { .mode = ALL_NIC, .flags = EXCL } };
	CHECK(fails(ctrl(a.fd, REGISTER, "vale0:a", &a.r, &bad), EFAULT), "entries nowhere");
	CHECK(ctrl(a.fd, REGISTER, "vale0:a", &a.r, &o) == 0 && o.o.status == 0, "register");
	map(&a);
	struct port b = OPEN("vale0:b");
	CHECK(ktoa[0].cur == 1023, "filled in");
	CHECK(fails(ioctl(a.fd, TXSYNC), EBUSY), "no sync by ioctl");
	struct pollfd p = { .fd = a.fd, .events = POLLOUT };
	CHECK(poll(&p, 1, 0) == 1 && p.revents == POLLERR, "no poll");
	pthread_t t;
	CHECK(pthread_create(&t, NULL, kloop, (void *)(intptr_t)a.fd) == 0, "thread");
	struct ring *r = tx(&a, 0);
	for (int i = 0; i < 5; i++)
		put(r, 0xff, 1, i, 60, 0);
	__atomic_store_n(&atok[0].cur, r->head, __ATOMIC_RELEASE);
	__atomic_store_n(&atok[0].head, r->head, __ATOMIC_RELEASE);
	await(&b, rx(&b, 0), 5);
	for (double end = now() + 20; __atomic_load_n(&ktoa[0].cur, __ATOMIC_ACQUIRE) != 4; usleep(100))
		CHECK(now() < end, "tail %u", ktoa[0].cur);
	put(tx(&b, 0), 0xff, 2, 7, 60, 0);
	drained(&b, tx(&b, 0));
	for (double end = now() + 20; __atomic_load_n(&ktoa[1].cur, __ATOMIC_ACQUIRE) != 1; usleep(100))
		CHECK(now() < end, "received up to %u", ktoa[1].cur);
	CHECK(buf(rx(&a, 0), rx(&a, 0)->slot[0].idx)[30] == 7, "a frame");
	CHECK(ctrl(a.fd, KLOOP_STOP, "", NULL, NULL) == 0, "stop");
	pthread_join(t, NULL);
	CHECK(loop_rc == 0, "the loop");
}

// Sends until the daemon is gone; says when it has begun.
static void survives(void)
{
	struct port a = OPEN("vale0:a"), b = OPEN("vale0:b");
	struct ring *t = tx(&a, 0);
	put(t, 0xff, 1, 1, 60, 0);
	drained(&a, t);
	puts("ready");
	fflush(stdout);
	struct pollfd p = { .fd = b.fd, .events = POLLIN };
	do {
		CHECK(poll(&p, 1, 20000) == 1, "poll");
		while (there(&b, rx(&b, 0))) take(rx(&b, 0));
	} while (0);
	CHECK(poll(&p, 1, 20000) == 1 && (p.revents & POLLERR), "poll: %x", p.revents);
	for (double end = now() + 20;; usleep(1000)) {
		if (t->head != t->tail)
			put(t, 0xff, 1, 1, 60, 0);
		if (ioctl(a.fd, TXSYNC) == -1 && errno == ENXIO)
			break;
		CHECK(now() < end, "still sends");
	}
	CHECK(next(t, t->tail) == t->head, "nothing stays pending");
	CHECK(fails(open("/dev/netmap", O_RDWR), ENXIO), "open");
}

int main(int argc, char **argv)
{
	static const struct { const char *name; void (*f)(void); } rules[] = {
#define R(f) { #f, f }
		R(errors), R(layout), R(sends), R(waits), R(frames), R(buffers), R(resets), R(pipes), R(monitors), R(headers),
		R(steering), R(descriptors), R(receiver), R(legacy), R(switches), R(denied), R(csb), R(survives),
	};
	for (unsigned i = 0; argc == 2 && i < sizeof rules / sizeof *rules; i++)
		if (strcmp(argv[1], rules[i].name) == 0) {
			rules[i].f();
			return 0;
		}
	fprintf(stderr, "usage: client RULE\n");
	return 2;
}
