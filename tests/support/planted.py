"""Secrets of many kinds as services write them, and lines that only resemble them.

Each secret is a text and the part of it that nobody may read. None of them opens anything.
"""

from __future__ import annotations

SHADOW = "$6$rounds=5000$Qm7xWvTz$kD9.qzL0uB3nV8yRt2sXeW6pJc4gHf1aMo5iKl7"
BCRYPT = "$2b$12$Vq9hT3kLr0XzWm5yNs8cEuJd2fGb7aPo4iRl6tKv1xZe0wHy3sMn."
ARGON = "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHRzYWx0$T0hQWm1pR3hJd0tqN3c"
FERNET = "m3Wq0bJ1o5tQy8vX2cZ7nL4kR6sD9fG1hA0eU5iP3xY="
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZG1pbiJ9.Vn3tQkL8rWzYx0mPs5cJdF2hGb7"
KEY_LINES = (
    "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW\n"
    "QyNTUxOQAAACCq7bTzWvXyR0mPs5cJdF2hGb7aVn3tQkL8rWzYx0mPs5cJdF2hGb7aQQAA"
)
OPENSSH = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{KEY_LINES}\n-----END OPENSSH PRIVATE KEY-----"
ONE_LINE = OPENSSH.replace("\n", "\\n")
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEAzWvXyR0mPs5c\n-----END RSA PRIVATE KEY-----"
PGP = (
    "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQVYBGbR0mPs5cJdF2hGb7\n=a1B2\n"
    "-----END PGP PRIVATE KEY BLOCK-----"
)
GITHUB = "ghp_" + "R0mPs5cJdF2hGb7aVn3tQkL8rWzYx0mPs5cJ"
SLACK = "xoxb-" + "2048105732961-R0mPs5cJdF2hGb7aVn3t"
HOOK = "T02AB34CD/B05EF67GH/" + "R0mPs5cJdF2hGb7aVn3tQkL8"
GOOGLE = "AIza" + "SyR0mPs5cJdF2hGb7aVn3tQkL8rWzYx0mPs"
AWS = "AKIA" + "R0MPS5CJDF2HGB7A"
AWS_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzzzzzzKEY"
AGE = "AGE-SECRET-KEY-1" + "QR0MPS5CJDF2HGB7AVN3TQKL8RWZYX0MPS5CJDF2HGB7AVN3TQKL8RW"
SENTRY = "0123456789abcdef0123456789abcdef"
SIGNATURE = "Zk9%2Bq7Rm1vXc3Lp8Ty5Wn2Sb6Hd4Jf0Gu%3D"
BASIC = "YWRtaW46VkVSWVNFQ1JFVDEyMw=="

PLANTED: dict[str, tuple[str, str]] = {
    "shadow": (f"rocky:{SHADOW}:19800:0:99999:7:::", SHADOW[24:]),
    "yescrypt": ("root:$y$j9T$F5Jx5fExrKuPp5$Qm7xWvTzkD9qzL:19800::::::", "Qm7xWvTzkD9qzL"),
    "bcrypt": (f"admin:{BCRYPT}", BCRYPT[7:]),
    "argon2": (f'"hash": "{ARGON}"', "T0hQWm1pR3hJd0tqN3c"),
    "werkzeug": ("pbkdf2:sha256:600000$Vn3tQkL8$9f86d081884c7d65", "9f86d081884c7d65"),
    "ldap hash": ("{SSHA}Vn3tQkL8rWzYx0mPs5cJdF2hGb7a", "Vn3tQkL8rWzYx0mPs5cJdF2hGb7a"),
    "alter role": ("STATEMENT:  ALTER ROLE airflow PASSWORD 'pl4nted-role';", "pl4nted-role"),
    "create role": (
        "LOG:  statement: create user x with encrypted password E'it''s pl4nted'",
        "pl4nted",
    ),
    "identified by": ("CREATE USER 'x'@'%' IDENTIFIED BY 'pl4nted-mysql'", "pl4nted-mysql"),
    "identified with": (
        "ALTER USER x IDENTIFIED WITH mysql_native_password BY 'pl4nted-mysql2'",
        "pl4nted-mysql2",
    ),
    "scram": (
        "SCRAM-SHA-256$4096:Vn3tQkL8rWzYx0mP$s5cJdF2hGb7a=:R0mPs5cJdF2h=",
        "Vn3tQkL8rWzYx0mP",
    ),
    "postgres md5": ("airflow | md53175bce1d3201d16594cebf9d7eb3f9d", "3175bce1d3201d16"),
    "curl -u": ("curl -s -u admin:pl4nted-curl http://10.0.0.1/api", "pl4nted-curl"),
    "curl --user": ("curl --user 'admin:pl4nted curl' http://10.0.0.1/api", "pl4nted"),
    "sentry": (f"https://{SENTRY}@o4504.ingest.sentry.io/4505", SENTRY),
    "old sentry": ("dsn=https://f00f00:pl4nteddsn@sentry.example.com/2", "pl4nteddsn"),
    "flower": ("Environment=FLOWER_BASIC_AUTH=admin:pl4nted-flower", "pl4nted-flower"),
    "flower's option": (
        "celery flower --basic-auth=admin:pl4nted-flower2 --port=5555",
        "pl4nted-flower2",
    ),
    "aws id": (f"botocore: using key {AWS}", AWS),
    "aws secret": (f"aws_secret_access_key = {AWS_SECRET}", AWS_SECRET),
    "github": (f"fatal: unable to access https://{GITHUB}@github.com/x/y.git", GITHUB),
    "github alone": (f"using {GITHUB} for clone", GITHUB),
    "slack": (f"slack_sdk: {SLACK} revoked", SLACK),
    "slack's webhook": (f"POST https://hooks.slack.com/services/{HOOK} 200", HOOK),
    "discord's webhook": (
        "https://discord.com/api/webhooks/104857601/pl4ntedHookPl4nted",
        "pl4ntedHookPl4nted",
    ),
    "telegram": ("https://api.telegram.org/bot204810:AApl4nted-Bot/send", "AApl4nted-Bot"),
    "jwt": (f"id_token expired: {JWT}", JWT[20:]),
    "pem": (PEM, "MIIEpAIBAAKCAQEAzWvXyR0mPs5c"),
    "openssh": (f"key:\n{OPENSSH}\nnext line", KEY_LINES[:60]),
    "openssh in json": (f'{{"type": "ssh-ed25519", "key": "{ONE_LINE}"}}', KEY_LINES[:60]),
    "openssh, its beginning cut off": (
        f"{KEY_LINES}\n-----END OPENSSH PRIVATE KEY-----",
        KEY_LINES[75:120],
    ),
    "pgp": (PGP, "lQVYBGbR0mPs5cJdF2hGb7"),
    "fernet": (f"AIRFLOW__CORE__FERNET_KEY={FERNET}", FERNET),
    "fernet alone": (f"new key {FERNET} generated", FERNET),
    "amqp": (
        "Connected to amqp://airflow:pl4nted/amqp@mq1:5672/airflow;amqp://a:pl4nted2@mq2",
        "pl4nted",
    ),
    "postgresql": (
        "sql_alchemy_conn = postgresql+psycopg2://airflow:pl4nted-pg@10.0.0.1:5000/airflow",
        "pl4nted-pg",
    ),
    "go's mysql": ("root:pl4nted-go@tcp(10.0.0.1:3306)/db", "pl4nted-go"),
    "conninfo": (
        "primary_conninfo = 'user=replicator password=pl4nted-conninfo host=10.0.0.1'",
        "pl4nted-conninfo",
    ),
    "erlang's cookie": ("erl -sname x -setcookie PL4NTEDCOOKIEPLANTED", "PL4NTEDCOOKIE"),
    "erlang's cookie in the environment": (
        "RABBITMQ_ERLANG_COOKIE=PL4NTEDCOOKIEPLANTED2",
        "PL4NTEDCOOKIE",
    ),
    "erlang's term": ('{default_pass, <<"pl4nted-term">>}', "pl4nted-term"),
    "basic": (f"> Authorization: Basic {BASIC}", BASIC),
    "basic without its header": (f'headers["x"] = "Basic {BASIC}"', BASIC),
    "bearer": ("authorization: Bearer pl4nted-0123456789", "pl4nted-0123456789"),
    "digest": ('Authorization: Digest username="a", response="pl4nted6629fae"', "pl4nted6629fae"),
    "api key's header": ("X-Api-Key: pl4nted-api", "pl4nted-api"),
    "cookie": ("Cookie: theme=dark; session=.eJpl4nted", ".eJpl4nted"),
    "set-cookie": ("Set-Cookie: session=.eJwlpl4nted; Path=/; HttpOnly", ".eJwlpl4nted"),
    "kubeconfig": ("    token: pl4ntedKubeToken", "pl4ntedKubeToken"),
    "kubeconfig's key": ("    client-key-data: LS0tLS1pl4nted==", "LS0tLS1pl4nted"),
    "pgpass": ("10.0.0.1:5432:*:replicator:pl4nted-pgpass", "pl4nted-pgpass"),
    "netrc": ("machine mirror.example.com login build password pl4nted-netrc", "pl4nted-netrc"),
    "netrc in lines": (
        "machine m\n  login build\n  password pl4nted-netrc2\n",
        "pl4nted-netrc2",
    ),
    "ini": ("smtp_password = pl4nted of several words", "several words"),
    "yaml": ("  password: 'pl4nted ''yaml'''", "pl4nted"),
    "yaml on one line": ("superuser: {username: postgres, password: pl4nted-flow}", "pl4nted-flow"),
    "a block of yaml": (
        "users:\n  secret: |\n    pl4nted line one\n\n    line two pl4nted\n  name: x\n",
        "pl4nted",
    ),
    "json": ('{"user": "x", "password": "pl4nted \\"json\\" x", "port": 1}', "pl4nted"),
    "json in json": ('{"body": "{\\"client_secret\\": \\"pl4nted-inner\\"}"}', "pl4nted-inner"),
    "python": ("{'smtp_password': 'pl4nted-python', 'port': 25}", "pl4nted-python"),
    "environment": ("SMTP_PASSWORD=pl4nted of several words", "several words"),
    "exported": ("export PGPASSWORD='pl4nted-pg' && psql", "pl4nted-pg"),
    "xml": ("<server><password>pl4nted&amp;xml</password></server>", "pl4nted"),
    "xml's property": ('<property name="db.password" value="pl4nted-prop"/>', "pl4nted-prop"),
    "containers' environment": (
        "- name: SMTP_PASSWORD\n  value: pl4nted-container",
        "pl4nted-container",
    ),
    "ado.net": ("Server=db;User Id=sa;Password=pl4nted;x;Database=y", "pl4nted"),
    "azure's signature": (
        f"https://x.blob.core.windows.net/c/b?sv=2022-11-02&sig={SIGNATURE}&se=2027",
        SIGNATURE,
    ),
    "azure's account": ("AccountName=x;AccountKey=pl4ntedAccount==;Suffix=y", "pl4ntedAccount"),
    "age": (f"# created\n{AGE}\n", AGE),
    "otp": ("otpauth://totp/admin?secret=PL4NTEDOTPSEED234&issuer=x", "PL4NTEDOTPSEED234"),
    "otp's seed": ("TOTP_SEED: PL4NTEDSEED567", "PL4NTEDSEED567"),
    "google": (f"GET /maps/api?key={GOOGLE}", GOOGLE),
    "docker": ('{"auths": {"r.example.com": {"auth": "cGw0bnRlZDpkb2NrZXI="}}}', "cGw0bnRl"),
    "npm": ("//registry.example.com/:_authToken=pl4nted-npm", "pl4nted-npm"),
    "keepalived": ("        auth_pass pl4ntedX", "pl4ntedX"),
    "haproxy": ("    stats auth admin:pl4nted-stats", "pl4nted-stats"),
    "redis": ("requirepass pl4nted-redis", "pl4nted-redis"),
    "mysql -p": ("COMMAND=/usr/bin/mysql -h db -u root -ppl4nted-my -e x", "pl4nted-my"),
    "sshpass": ("sshpass -p pl4nted-ssh ssh root@10.0.0.1", "pl4nted-ssh"),
    "an option": ("COMMAND=/usr/bin/thing --password pl4nted-option --force", "pl4nted-option"),
    "chpasswd": ("echo 'rocky:pl4nted-ch' | chpasswd", "pl4nted-ch"),
    "passwd --stdin": ("echo pl4nted-stdin | sudo passwd --stdin rocky", "pl4nted-stdin"),
    "rabbitmqctl": ("rabbitmqctl add_user airflow pl4nted-rabbit", "pl4nted-rabbit"),
    "openssl": ("openssl pkcs12 -export -passout pass:pl4nted-openssl", "pl4nted-openssl"),
    "a proxy": ("proxy=http://proxyuser:pl4nted-proxy@10.0.0.9:3128", "pl4nted-proxy"),
    "wireguard": ("PrivateKey = pl4ntedWireguardKey=", "pl4ntedWireguardKey"),
    "a url's parameter": ("GET /hook?access_token=pl4nted-query&x=1 200", "pl4nted-query"),
}

HARMLESS = (
    'FATAL:  password authentication failed for user "airflow"',
    'FATAL:  no pg_hba.conf entry for host "192.168.83.129", user "x", database "y"',
    "sshd[812]: Failed password for invalid user admin from 203.0.113.9 port 41022 ssh2",
    "sshd[812]: Accepted publickey for rocky from 192.168.83.1 port 50222 ssh2: ED25519 "
    "SHA256:Zk9q7Rm1vXc3Lp8Ty5Wn2Sb6Hd4Jf0GuAbCdEfGhIjk",
    "pam_unix(sshd:session): session opened for user rocky(uid=1000) by (uid=0)",
    "listen_addresses = '10.0.0.1'",
    "    password_encryption: scram-sha-256",
    "host all all 10.20.0.0/24 scram-sha-256",
    "PasswordAuthentication no",
    "Airflow 2.9.0, Python 3.9.16, PostgreSQL 15.8, Erlang 26.1.2-1.el9",
    "postgresql15-server-15.8-1PGDG.rhel9.x86_64",
    "sha256:1ad539e9dbd2b42df714b69726e0693bc6b9d2d2c8e91c2e43204026605140c5  Python-3.9.16.tgz",
    "    --hash=sha256:f2a4c1f1b8f4d1e0a7c3",
    "commit 449d8580f1c2a3b4c5d6e7f8a9b0c1d2e3f4a5b6",
    "boot id 7d9f1c1e-3f0b-4c6e-9a53-2f6f0a3f5b11",
    "dag_id=smoke run_id=manual__2026-11-29T08:00:00+00:00 task_id=hello",
    "  inet 192.168.83.148/24 brd 192.168.83.255 scope global ens160",
    "link/ether 52:54:00:12:34:56 brd ff:ff:ff:ff:ff:ff",
    "tcp LISTEN 0 4096 192.168.83.148:5432 0.0.0.0:*",
    "http://192.168.83.210:8081/health returned 503",
    "2026-11-29 08:00:00.123 INFO: no action. I am (sql1), the leader with the lock",
    "rabbit@mq1: node rabbit@mq2 up",
    "etcd: member 8e9e05c52164694d: name=sql1 peerURLs=https://192.168.83.148:2380",
    "dnf: Nothing to do. Complete!",
    "ssl_key_file = '/etc/patroni/tls/host.key'",
    "passfile: /var/lib/pgsql/pgpass",
    "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUQ2\n-----END CERTIFICATE-----",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE8m1vXc3Lp8Ty5Wn2Sb6Hd4Jf0GuAbCdEfGhIj vm1",
    "Session 12 of user rocky. tokens: 30 left; bypass=no, compass: north",
    "runuser -u postgres -- psql -X -c 'select 1'",
    "systemctl status -u airflow-worker; mkdir -p /x/y; ssh -p 2222 host",
    "nothing is encrypted with the old fernet key any more",
    "secrets.yaml: 0600, 17 passwords",
    "the password of role airflow is the one in secrets.yaml",
    "+listen_addresses = '192.168.83.148, 127.0.0.1'",
)
