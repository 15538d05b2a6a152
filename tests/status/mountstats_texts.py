"""/proc/self/mountstats as kernels write it, made after the format that they document (fs/nfs/super.c, net/sunrpc/stats.c).

No kernel that these tests ran on had an NFS client, so none of it is from a live mount.
"""

from __future__ import annotations

# Linux 6: NFSv4.1 over two connections (nconnect=2), with a count of errors at the end of each operation.
V41 = """\
device nas:/models mounted on /mnt/nas with fstype nfs4 statvers=1.1
\topts:\trw,vers=4.1,rsize=1048576,wsize=1048576,namlen=255,acregmin=3,acregmax=60,acdirmin=30,acdirmax=60,hard,\
proto=tcp,nconnect=2,timeo=600,retrans=2,sec=sys,clientaddr=10.0.0.5,local_lock=none
\tage:\t7822
\timpl_id:\tname='',domain='',date='0,0'
\tcaps:\tcaps=0x3fffbfff,wtmult=512,dtsize=1048576,bsize=0,namlen=255
\tnfsv4:\tbm0=0xfdffbfff,bm1=0x40f9be3e,bm2=0x60803,acl=0x3,sessions,pnfs=not configured,lease_time=90,lease_expired=0
\tsec:\tflavor=1,pseudoflavor=1
\tevents:\t16 135 0 0 10 10 197 0 0 10 0 0 0 0 10 0 0 8 0 0 10 0 0 0 0 0 0\x20
\tbytes:\t4294967296 0 1073741824 0 3221225472 0 786432 0\x20
\tRPC iostats version: 1.1  p/v: 100003/4 (nfs)
\txprt:\ttcp 810 0 2 0 52 1629 1629 0 1709 0 7 12 20\x20
\txprt:\ttcp 811 0 2 0 52 1630 1630 0 1711 0 7 12 21\x20
\tper-op statistics
\t        NULL: 1 1 0 44 24 0 0 0 0
\t        READ: 3072 3074 1 638976 3221618688 210 6144 6400 2
\t       WRITE: 0 0 0 0 0 0 0 0 0
\t  TEST_STATEID: 0 0 0 0 0 0 0 0 0

"""

# Linux 3 to 5.2: NFSv3, mounted where a space is in the path, without counts of errors.
V3 = """\
device 10.0.0.9:/export/models mounted on /mnt/old\\040nas with fstype nfs statvers=1.1
\topts:\tro,vers=3,rsize=1048576,wsize=1048576,namlen=255,acregmin=3,acregmax=60,acdirmin=30,acdirmax=60,hard,proto=tcp,\
timeo=600,retrans=2,sec=sys,mountaddr=10.0.0.9,mountvers=3,mountport=20048,mountproto=udp,local_lock=none
\tage:\t93
\tcaps:\tcaps=0x3fe7,wtmult=4096,dtsize=1048576,bsize=0,namlen=255
\tsec:\tflavor=1,pseudoflavor=1
\tevents:\t3 12 0 0 2 3 30 0 0 2 0 0 0 0 2 0 0 1 0 0 2 0 0 0 0 0 0\x20
\tbytes:\t1000 0 24 0 65536 0 16 0\x20
\tRPC iostats version: 1.0  p/v: 100003/3 (nfs)
\txprt:\ttcp 937 1 1 0 0 17 17 0 17 0 2 0 0
\tper-op statistics
\t        NULL: 0 0 0 0 0 0 0 0
\t     GETATTR: 6 6 0 744 672 0 3 3
\t        READ: 16 16 0 2048 67584 1 32 33
"""

# Linux 2.6.32 (RHEL 6): statvers 1.0, fewer events, and its transport by datagrams.
V2_6 = """\
device nas:/old mounted on /mnt/udp with fstype nfs statvers=1.0
\topts:\trw,vers=3,rsize=32768,wsize=32768,namlen=255,hard,proto=udp,timeo=11,retrans=3,sec=sys
\tage:\t12
\tcaps:\tcaps=0x3fe7,wtmult=4096,dtsize=32768,bsize=0,namlen=255
\tsec:\tflavor=1,pseudoflavor=1
\tevents:\t1 2 0 0 1 1 2 0 0 1 0 0 0 0 1 0 0 0 0 0 0 0 0 0 0\x20
\tbytes:\t512 0 0 0 4096 0 1 0\x20
\tRPC iostats version: 1.0  p/v: 100003/3 (nfs)
\txprt:\tudp 1023 0 4 4 0 4 0
\tper-op statistics
\t        READ: 1 1 0 120 4200 0 1 1
"""

OTHERS = """\
device proc mounted on /proc with fstype proc
device /dev/vda mounted on / with fstype ext4
no device mounted on /dev/mqueue with fstype mqueue
"""

ALL = OTHERS + V41 + V3 + V2_6 + "device tmpfs mounted on /run with fstype tmpfs\n"
