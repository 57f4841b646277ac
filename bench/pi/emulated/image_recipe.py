"""What is on the emulated Pi's card: packages, kernel modules, settings. Pure; `image.py` carries it out.

Everything that makes the image differ stands here, so that a hash of it names the image.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import asdict, dataclass, field

ARCHITECTURE = "arm64"
RELEASE = "bookworm"
"""Debian 12, which Raspberry Pi OS of the same name is built from."""

USER = "bench"
USER_ID = 1000
MACHINE_ID = "0dab0dab0dab4dab8dab0dab0dab0dab"
RADIO_PORT = "radio"
"""Name of the virtio-serial port; the guest finds it at ``/dev/virtio-ports/radio``."""

GUEST_ADDRESS = "10.0.2.15"
HOST_ADDRESS = "10.0.2.2"
"""Where QEMU's user-mode network puts the guest, and under which address the guest reaches the host."""

_SSHD = f"""\
# Keys only, one account.
HostKey /etc/ssh/ssh_host_ed25519_key
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin no
AllowUsers {USER}
UseDNS no
UsePAM no
MaxStartups 50:30:100
MaxSessions 50
"""

# Beside the stock units: QEMU's user-mode network has fixed addresses, so nothing has to be asked for.
_NETWORK = f"""\
[Unit]
Description=Fixed address on the emulated wire
DefaultDependencies=no
After=systemd-udevd.service
Before=network.target
Wants=network.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/ip address replace {GUEST_ADDRESS}/24 dev eth0
ExecStart=/usr/sbin/ip link set eth0 up
ExecStart=/usr/sbin/ip route replace default via {HOST_ADDRESS}

[Install]
WantedBy=multi-user.target
"""

# The stock unit asks udev about every device that the kernel has; four kinds matter here.
_UDEV_TRIGGER = """\
[Service]
ExecStart=
ExecStart=-udevadm trigger --type=devices --action=add --subsystem-match=block --subsystem-match=net \
    --subsystem-match=virtio --subsystem-match=virtio-ports
"""

# The stock unit has sshd read its settings twice.
_SSH_START = """\
[Service]
ExecStartPre=
"""

_RADIO_RULE = 'SUBSYSTEM=="virtio-ports", KERNEL=="vport*", GROUP="dialout", MODE="0660"\n'

_MASKED_UNITS = (
    "console-getty.service",
    "cryptsetup.target",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty-static.service",
    "getty.target",
    "integritysetup.target",
    "kmod-static-nodes.service",
    "proc-sys-fs-binfmt_misc.automount",
    "remote-fs.target",
    "serial-getty@ttyAMA0.service",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path",
    "systemd-binfmt.service",
    "systemd-firstboot.service",
    "systemd-initctl.socket",
    "systemd-journald-audit.socket",
    "systemd-logind.service",
    "systemd-machine-id-commit.service",
    "systemd-pcrphase-sysinit.service",
    "systemd-pcrphase.service",
    "systemd-pstore.service",
    "systemd-random-seed.service",
    "systemd-remount-fs.service",
    "systemd-repart.service",
    "systemd-sysusers.service",
    "systemd-tmpfiles-clean.timer",
    "systemd-update-utmp-runlevel.service",
    "systemd-update-utmp.service",
    "veritysetup.target",
)
"""Units that a gateway has no use for and that cost seconds of an emulated boot."""

_MASKED_GENERATORS = (
    "systemd-cryptsetup-generator",
    "systemd-debug-generator",
    "systemd-fstab-generator",
    "systemd-getty-generator",
    "systemd-gpt-auto-generator",
    "systemd-hibernate-resume-generator",
    "systemd-integritysetup-generator",
    "systemd-rc-local-generator",
    "systemd-run-generator",
    "systemd-system-update-generator",
    "systemd-sysv-generator",
    "systemd-veritysetup-generator",
)
"""Programs that systemd runs at each start to make up units, of which this card needs none."""


@dataclass(frozen=True, slots=True)
class FileOnCard:
    """A file or symbolic link (`target` given) of the root file system."""

    path: str
    content: bytes = b""
    mode: int = 0o644
    owner: int = 0
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides what the image is, but for the keys and the versions of the day."""

    packages: tuple[str, ...] = (
        "iproute2",
        "kmod",
        "libstdc++6",  # grpcio's wheel
        "openssh-server",
        "python3",
        "sudo",
        "systemd-sysv",
        "udev",
        "wireguard-tools",
    )
    refused_packages: tuple[str, ...] = ("ca-certificates", "usrmerge")
    """Not wanted even where a dependency would allow them: dear under emulation, and without use."""
    excluded_paths: tuple[str, ...] = (
        "/usr/share/doc/*",
        "/usr/share/info/*",
        "/usr/share/locale/*",
        "/usr/share/man/*",
        "/usr/lib/udev/hwdb.d/*",
    )
    boot_modules: tuple[str, ...] = ("virtio_mmio", "virtio_blk", "crc32c_generic", "ext4", "virtio_net")
    """Loaded by the initial RAM disk, with what they depend on."""
    card_modules: tuple[str, ...] = (
        "dummy",
        "ifb",
        "nf_tables",
        "nft_ct",
        "nft_limit",
        "nft_numgen",
        "nft_reject_inet",
        "sch_fq",
        "sch_fq_codel",
        "sch_htb",
        "sch_netem",
        "sch_tbf",
        "tun",
        "veth",
        "virtio_console",
        "virtio_rng",
        "wireguard",
    )
    """Found by modprobe on the card, with what they depend on."""
    card_bytes: int = 2 << 30
    masked_units: tuple[str, ...] = _MASKED_UNITS
    masked_generators: tuple[str, ...] = _MASKED_GENERATORS
    settings: tuple[FileOnCard, ...] = field(
        default=(
            FileOnCard("etc/ssh/sshd_config.d/bench.conf", _SSHD.encode()),
            FileOnCard("etc/systemd/system/emulated-wire.service", _NETWORK.encode()),
            FileOnCard("etc/systemd/system/systemd-udev-trigger.service.d/few.conf", _UDEV_TRIGGER.encode()),
            FileOnCard("etc/systemd/system/ssh.service.d/quick.conf", _SSH_START.encode()),
            FileOnCard("etc/systemd/system/default.target", target="/lib/systemd/system/multi-user.target"),
            FileOnCard("etc/udev/rules.d/90-radio.rules", _RADIO_RULE.encode()),
            FileOnCard("etc/hostname", b"pi\n"),
            FileOnCard("etc/hosts", b"127.0.0.1 localhost\n127.0.1.1 pi\n"),
            FileOnCard("etc/resolv.conf", b"nameserver 10.0.2.3\n"),
            FileOnCard("etc/fstab", b"/dev/vda / ext4 noatime 0 0\n"),
            FileOnCard("etc/machine-id", MACHINE_ID.encode() + b"\n", mode=0o444),
            FileOnCard("etc/sudoers.d/bench", f"{USER} ALL=(ALL) NOPASSWD: ALL\n".encode(), mode=0o440),
            FileOnCard("etc/tmpfiles.d/systemd-nologin.conf", target="/dev/null"),
        )
    )

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that name the image of this recipe."""
        return hashlib.sha256(repr(asdict(self)).encode() + INIT_SCRIPT.encode()).hexdigest()[:16]


INIT_SCRIPT = """\
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
for module in $(/bin/busybox cat /modules/order); do
    /bin/busybox insmod "/modules/$module" || echo "initial RAM disk: no $module" >/dev/console
done
tries=0
until [ -b /dev/vda ] || [ $tries -ge 200 ]; do
    tries=$((tries + 1)); /bin/busybox usleep 50000
done
if ! /bin/busybox mount -t ext4 -o rw,noatime /dev/vda /root; then
    echo "initial RAM disk: the card cannot be mounted" >/dev/console
    /bin/busybox poweroff -f
fi
/bin/busybox mount --move /dev /root/dev
/bin/busybox umount /proc
exec /bin/busybox switch_root /root /sbin/init
"""
"""First program of the machine: loads what the card needs, mounts it, hands over to systemd."""


def files_on_card(
    recipe: Recipe, host_private_key: bytes, host_public_line: str, client_public_line: str
) -> tuple[FileOnCard, ...]:
    """All files that the bench itself puts on the card, keys included."""
    units = "etc/systemd/system"
    home = f"home/{USER}/.ssh"
    return (
        *recipe.settings,
        *(FileOnCard(f"{units}/{unit}", target="/dev/null") for unit in recipe.masked_units),
        *(
            FileOnCard(f"etc/systemd/system-generators/{name}", target="/dev/null")
            for name in recipe.masked_generators
        ),
        FileOnCard(
            f"{units}/multi-user.target.wants/emulated-wire.service", target="../emulated-wire.service"
        ),
        FileOnCard("etc/ssh/ssh_host_ed25519_key", host_private_key, mode=0o600),
        FileOnCard("etc/ssh/ssh_host_ed25519_key.pub", f"{host_public_line}\n".encode()),
        FileOnCard(f"{home}/authorized_keys", f"{client_public_line}\n".encode(), mode=0o600, owner=USER_ID),
    )


def archive(files: tuple[FileOnCard, ...]) -> bytes:
    """A tar archive of files, times at zero."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for file in files:
            member = tarfile.TarInfo(f"./{file.path}")
            member.uid = member.gid = file.owner
            member.mode = file.mode
            if file.target is not None:
                member.type, member.linkname = tarfile.SYMTYPE, file.target
            else:
                member.size = len(file.content)
            tar.addfile(member, io.BytesIO(file.content))
    return buffer.getvalue()
