"""A real OpenLDAP on one of the lab's hosts, with a person in a group and one in none."""

from __future__ import annotations

from lab.machine import Lab

BASE = "dc=example,dc=com"
READER = f"cn=airflow,{BASE}"
ADMINS = f"cn=admins,ou=groups,{BASE}"
PASSWORDS = {"airflow": "its own s3cret", "jane": "jane's s3cret", "joe": "joe's s3cret"}
FOLDER = "/root/directory"
ROOT = f"-x -H ldapi:/// -D cn=root,{BASE} -w root"

CONFIGURATION = f"""\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
TLSCertificateFile {FOLDER}/own.pem
TLSCertificateKeyFile {FOLDER}/own.key
disallow bind_anon
database mdb
suffix {BASE}
rootdn cn=root,{BASE}
rootpw root
directory {FOLDER}/data
overlay memberof
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact={READER} read by * none
"""

PERSON = """
dn: uid={name},ou=people,{base}
objectClass: inetOrgPerson
uid: {name}
cn: {name}
sn: of the lab
givenName: {name}
mail: {name}@example.com
userPassword: {password}
"""

ENTRIES = f"""\
dn: {BASE}
objectClass: dcObject
objectClass: organization
dc: example
o: example

dn: {READER}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: airflow
userPassword: {PASSWORDS["airflow"]}

dn: ou=people,{BASE}
objectClass: organizationalUnit
ou: people

dn: ou=groups,{BASE}
objectClass: organizationalUnit
ou: groups
{"".join(PERSON.format(name=name, base=BASE, password=PASSWORDS[name]) for name in ("jane", "joe"))}
dn: {ADMINS}
objectClass: groupOfNames
cn: admins
member: uid=jane,ou=people,{BASE}
"""

# OpenLDAP wants the name by which it is called in the certificate.
CERTIFICATES = """\
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -keyout ca.key -out ca.pem -subj /CN=Directory
openssl req -newkey rsa:2048 -nodes -keyout own.key -out own.csr -subj "/CN=$HOSTNAME"
openssl x509 -req -in own.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -out own.pem \\
  -extfile <(echo "subjectAltName=DNS:$HOSTNAME")"""


class Directory:
    """OpenLDAP on a host, reached over TLS by the host's name; `ca` is its CA's certificate."""

    def __init__(self, lab: Lab, host: str) -> None:
        self.lab, self.host = lab, host
        self.url = f"ldaps://{host}"
        self.shell("dnf -y install openldap-servers openldap-clients >/dev/null")
        self.shell("firewall-cmd -q --add-port=636/tcp")
        self.shell(f"mkdir -p -m 0700 {FOLDER}/data /var/run/slapd")
        self.shell(f"cd {FOLDER} && {{ {CERTIFICATES}; }} 2>&1")
        self.shell(f"cat >{FOLDER}/slapd.conf <<'TEXT'\n{CONFIGURATION}TEXT")
        self.shell(f"cat >{FOLDER}/entries <<'TEXT'\n{ENTRIES}TEXT")
        self.start()
        self.shell(f"ldapadd {ROOT} -f {FOLDER}/entries")
        self.ca = self.shell(f"cat {FOLDER}/ca.pem")

    def shell(self, command: str) -> str:
        done = self.lab.root_shell(self.host, command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def start(self) -> None:
        """It runs, and answers."""
        self.shell(
            "systemd-run -q --unit=directory /usr/sbin/slapd -d 0 "
            f"-f {FOLDER}/slapd.conf -h 'ldaps:/// ldapi:///'\n"
            f"for _ in {{1..50}}; do ldapwhoami {ROOT} >/dev/null 2>&1 && break; sleep 0.2; done\n"
            f"ldapwhoami {ROOT}"
        )

    def stop(self) -> None:
        self.shell("systemctl stop directory")
