/*
 * What evenkeel sees of DPDK. build.rs binds the functions that it lists, and only those; the static inline ones
 * among them get an ordinary C function each.
 *
 * DPDK moves fields into and out of anonymous unions between releases (struct rte_mbuf in 24.03, struct rte_eth_link
 * in 24.11), which changes their path in generated bindings but not their name in C. So these two structures are
 * opaque to Rust: it gets the mbuf fields by their offsets and the link by the functions below.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* fopencookie */
#endif
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <sys/socket.h>

#include <linux/if_packet.h>

#include <rte_config.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mbuf_pool_ops.h>
#include <rte_mempool.h>
#include <rte_version.h>

/* Where the fields of struct rte_mbuf are, in octets. */
enum evenkeel_mbuf_offset {
	MBUF_BUF_ADDR = offsetof(struct rte_mbuf, buf_addr), /* void * */
	MBUF_DATA_OFF = offsetof(struct rte_mbuf, data_off), /* uint16_t */
	MBUF_NB_SEGS = offsetof(struct rte_mbuf, nb_segs),   /* uint16_t */
	MBUF_PKT_LEN = offsetof(struct rte_mbuf, pkt_len),   /* uint32_t */
	MBUF_DATA_LEN = offsetof(struct rte_mbuf, data_len), /* uint16_t */
	MBUF_BUF_LEN = offsetof(struct rte_mbuf, buf_len),   /* uint16_t */
	MBUF_NEXT = offsetof(struct rte_mbuf, next),         /* struct rte_mbuf * */
};

/* Constants that are macros with casts or computed values, which bindgen cannot evaluate. */
enum evenkeel_limit {
	MBUF_HEADROOM = RTE_PKTMBUF_HEADROOM,
	MBUF_STRUCT_OCTETS = sizeof(struct rte_mbuf),
};
static const uint64_t EVENKEEL_RSS_FLOWS = RTE_ETH_RSS_IP | RTE_ETH_RSS_UDP | RTE_ETH_RSS_TCP;

/* rte_errno is a thread-local variable of the C library's kind. */
static inline int evenkeel_errno(void)
{
	return rte_errno;
}

/*
 * Has DPDK write its log by the function, which gets a message or a part of one and returns the octets that it took, in
 * place of standard error and syslog. Returns 0, or -1 if there is no memory for it. FILE is opaque to Rust.
 */
typedef ssize_t (*evenkeel_log_write)(void *cookie, const char *octets, size_t count);

static inline int evenkeel_log_to(evenkeel_log_write write)
{
	cookie_io_functions_t functions = { .write = write };
	FILE *stream = fopencookie(NULL, "w", functions);

	return stream == NULL ? -1 : rte_openlog_stream(stream);
}

/* The index of the interface that a packet socket is bound to; -1 if the descriptor is none. */
static inline int64_t evenkeel_packet_socket_interface(int descriptor)
{
	struct sockaddr_ll address = { .sll_family = AF_UNSPEC };
	socklen_t length = sizeof(address);

	/* The kernel leaves out what the hardware address does not fill. */
	if (getsockname(descriptor, (struct sockaddr *)&address, &length) != 0 || address.sll_family != AF_PACKET)
		return -1;
	return address.sll_ifindex;
}

/* Frames that the kernel dropped since the last call, as the ring of a packet socket was full; -1 if it does not say. */
static inline int64_t evenkeel_packet_socket_drops(int descriptor)
{
	union tpacket_stats_u stats;
	socklen_t length = sizeof(stats);

	/* Versions 1 to 3 begin alike. */
	if (getsockopt(descriptor, SOL_PACKET, PACKET_STATISTICS, &stats, &length) != 0)
		return -1;
	return stats.stats1.tp_drops;
}

/* The state of a link, the same in every release. */
struct evenkeel_link {
	uint32_t speed_mbps; /* RTE_ETH_SPEED_NUM_NONE or _UNKNOWN where there is none */
	uint8_t up;
	uint8_t full_duplex;
};

static inline int evenkeel_link_get(uint16_t port_id, struct evenkeel_link *out)
{
	struct rte_eth_link link;
	int result = rte_eth_link_get_nowait(port_id, &link);

	if (result == 0) {
		out->speed_mbps = link.link_speed;
		out->up = link.link_status;
		out->full_duplex = link.link_duplex;
	}
	return result;
}
