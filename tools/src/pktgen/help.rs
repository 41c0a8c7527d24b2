//! What `-h` prints.

/// The help text.
pub const HELP: &str = "\
valecast pkt-gen: packet generator and receiver for ports of a Valecast switch

Usage: valecast pkt-gen -i SWITCH:PORT [-f MODE] [OPTIONS]

Modes (-f):
  rx       receive and count (the default); measures probes of a sender
  tx       send
  ping     ask and measure round trips          pong     answer pings
  txseq    send numbered frames                 rxseq    receive them: loss, reordering, duplicates

What to send:
  -l SIZE         frame bytes without CRC, 16 to 65536 [60]; a second -l is the least of random sizes
  -4, -6          IPv4 [default] or IPv6
  -s, -d ADDR     source, destination: IP[:PORT][-IP[:PORT]] [10.0.0.1:1234, 10.1.0.1:1234];
                  IPv6: [IP]:PORT
  -S, -D MAC      source, destination MAC[-MAC] [made from the port's name; ff:ff:ff:ff:ff:ff]
  -z, -Z          random source, destination address and port in every frame
  -F N, -M SIZE   cut frames into N slots (1 to 63), of at most SIZE bytes
  -H LEN          empty virtio header of 0, 10 or 12 bytes in front
  -r              rubbish: send whatever is in the buffers
  -I              indirect buffers: accepted; the data is copied into the ring by this program
  -P FILE         frames of a pcap or pcapng file, at its own times; a file with one frame is that frame
                  over and over
  --pcap-speed X  play -P so many times as fast; 0: without regard to its times
  --loop N        play -P so often [1]; 0: for ever
  --seed N        where random numbers begin [1]

How much, how fast:
  -n COUNT        frames (pings), all threads together [0: no end]
  --seconds N     run so long
  -R RATE         frames per second, all threads together: 1000, 2.5k, 14.88M [0: as fast as possible].
                  ping: on schedule, whether or not answers come
  -b BURST        most frames at once [512; ping 1]
  --probe RATE    tx: send probes beside the load; an rx on the same host shows their latency and loss
  --load RATE     ping: send background frames beside the pings
  --patience S    ping: an answer that takes longer is lost [1]

Receiving:
  -W              end after 1 s without frames, once there was one
  --silence S     the same after S seconds

Threads and rings:
  -p N            threads, each with a ring of its own [1, with all rings]
  -a CPU, -c N    first CPU to run on, and number of CPUs to use from there
  -C TX[,RX[,TXR[,RXR]]]  ask for slots and rings (0: the port's own). Both directions have the larger
                  number of slots
  --buf-size N    ask for buffers of so many bytes
  --busy          never sleep: measures without wake-ups, takes a core
  -w S            wait S seconds before the start [0]

Output:
  -T MS           report to standard error every MS milliseconds [1000]
  -N              plain numbers, no K, M, G        -B   count 24 bytes of framing in each bps
  -A              average and deviation of the rate over the last 15 reports
  -X              show frames in hexadecimal       -v   say more
  --json          one JSON object at the end, and nothing else on standard output
  --hlog FILE     latencies as an HdrHistogram interval log
  --plot FILE     latencies as an SVG picture
  -o MASK         as pkt-gen: 4, 8 copy every frame, 32 -I, 64 -X, 256 -r, 512 -z, 1024 -Z, 2048 -A;
                  1, 2, 16 and 4096 are accepted and change nothing

  --run-dir DIR   where the switch's socket is [$VALECAST_RUN_DIR, or the switch's default]
  -h, --help      this text

Exit code: 0 done, 1 failed or the switch went away, 2 wrong options.
";
