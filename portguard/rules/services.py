"""Service names and development defaults by port number. Pure data, and the range classes of RFC 6335.

Registered names are those of the IANA Service Name and Transport Protocol Port Number Registry
(https://www.iana.org/assignments/service-names-port-numbers), compared with a copy of 2024-08. A registered name is
the registry's word for the number, not what listens there: 3000 is `hbci`, and hardly anyone's home banking.
Numbers that the registry leaves unassigned carry the name of the tool that made them its default, and the page of that
tool's own documentation that says so.
"""

from __future__ import annotations

from portguard._namedtuple import NamedTuple
from portguard.rules.ranges import DYNAMIC, LINUX_EPHEMERAL, WELL_KNOWN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from portguard.model import RangeName


class Service(NamedTuple):
    """What a number stands for: its names, the development tools whose default it is, and where that is written.

    `source` is None for names of the IANA registry, else a page of the tool's documentation.
    """

    tcp: str | None
    udp: str | None
    tools: tuple[str, ...] = ()
    source: str | None = None


# Where a number has several registered names the first of the registry stands here, but for 465 (RFC 8314, 7.3).
REGISTERED: dict[int, Service] = {
    21: Service("ftp", "ftp"),
    22: Service("ssh", "ssh", ("OpenSSH",)),
    23: Service("telnet", "telnet"),
    25: Service("smtp", "smtp", ("Postfix", "Exim")),
    53: Service("domain", "domain", ("dnsmasq", "systemd-resolved", "CoreDNS")),
    80: Service("http", "http", ("nginx", "Apache", "Caddy", "Traefik")),
    110: Service("pop3", "pop3"),
    111: Service("sunrpc", "sunrpc", ("rpcbind",)),
    123: Service("ntp", "ntp", ("chrony",)),
    143: Service("imap", None, ("Dovecot",)),
    389: Service("ldap", "ldap", ("OpenLDAP",)),
    443: Service("https", "https", ("nginx", "Apache", "Caddy", "Traefik")),
    445: Service("microsoft-ds", "microsoft-ds", ("Samba",)),
    465: Service("submissions", "igmpv3lite", ("Postfix",)),
    514: Service("shell", "syslog", ("rsyslog",)),
    587: Service("submission", "submission", ("Postfix",)),
    631: Service("ipp", "ipp", ("CUPS",)),
    636: Service("ldaps", "ldaps", ("OpenLDAP",)),
    873: Service("rsync", "rsync", ("rsync",)),
    993: Service("imaps", None, ("Dovecot",)),
    995: Service("pop3s", "pop3s", ("Dovecot",)),
    1025: Service("blackjack", "blackjack", ("MailHog", "Mailpit", "MailDev", "MailCatcher")),
    1080: Service("socks", "socks", ("MailDev", "MailCatcher")),
    1313: Service("bmc-patroldb", "bmc-patroldb", ("Hugo",)),
    1337: Service("menandmice-dns", "menandmice-dns", ("Strapi",)),
    1433: Service("ms-sql-s", "ms-sql-s", ("Microsoft SQL Server",)),
    1521: Service("ncube-lm", "ncube-lm", ("Oracle Database",)),
    1883: Service("mqtt", "mqtt", ("Mosquitto",)),
    2049: Service("nfs", "nfs"),
    2181: Service("eforward", "eforward", ("ZooKeeper",)),
    2222: Service("EtherNet-IP-1", "EtherNet-IP-1", ("Vagrant",)),
    2375: Service("docker", None, ("Docker",)),
    2376: Service("docker-s", None, ("Docker",)),
    2377: Service("swarm", None, ("Docker Swarm",)),
    2379: Service("etcd-client", None, ("etcd",)),
    2380: Service("etcd-server", None, ("etcd",)),
    3000: Service("hbci", "hbci", ("Next.js", "Nuxt", "Ruby on Rails", "Create React App", "Grafana", "Gitea")),
    3001: Service("origo-native", None, ("Browsersync", "Uptime Kuma")),
    3100: Service("opcon-xps", "opcon-xps", ("Grafana Loki",)),
    3128: Service("ndl-aas", "ndl-aas", ("Squid",)),
    3306: Service("mysql", "mysql", ("MySQL", "MariaDB")),
    3389: Service("ms-wbt-server", "ms-wbt-server", ("Remote Desktop",)),
    3478: Service("stun", "stun", ("coturn",)),
    4000: Service("terabase", "terabase", ("Phoenix", "Jekyll")),
    4040: Service("yo-main", "yo-main", ("ngrok", "Apache Spark")),
    4200: Service("vrml-multi-use", "vrml-multi-use", ("Angular CLI", "Prefect")),  # registered as 4200-4299
    4222: Service("vrml-multi-use", "vrml-multi-use", ("NATS",)),
    4317: Service("opentelemetry", None, ("OpenTelemetry",)),
    4369: Service("epmd", "epmd", ("Erlang", "RabbitMQ")),
    4444: Service("krb524", "krb524", ("Selenium Grid",)),
    4567: Service("tram", "tram", ("Sinatra",)),
    5000: Service("commplex-main", "commplex-main", ("Flask", "Docker Registry", "AirPlay Receiver (macOS)")),
    5001: Service("commplex-link", "commplex-link", ("iperf 2", "ASP.NET Core")),
    5005: Service("avt-profile-2", "avt-profile-2", ("Java debugger", "Rasa")),
    5044: Service("lxi-evntsvc", "lxi-evntsvc", ("Logstash",)),
    5353: Service("mdns", "mdns", ("Avahi", "Bonjour")),
    5355: Service("llmnr", "llmnr", ("systemd-resolved",)),
    5432: Service("postgresql", "postgresql", ("PostgreSQL",)),
    5555: Service("personal-agent", "personal-agent", ("Flower", "Prisma Studio", "Android emulator")),
    5601: Service("esmagent", "esmagent", ("Kibana", "OpenSearch Dashboards")),
    5671: Service("amqps", "amqps", ("RabbitMQ",)),
    5672: Service("amqp", "amqp", ("RabbitMQ", "ActiveMQ")),
    5678: Service("rrac", "rrac", ("n8n", "debugpy")),
    5900: Service("rfb", "rfb", ("VNC", "Screen Sharing (macOS)")),
    5984: Service("couchdb", "couchdb", ("CouchDB",)),
    6000: Service("x11", "x11", ("X server",)),  # registered as 6000-6063
    6006: Service("x11", "x11", ("Storybook", "TensorBoard")),
    6060: Service("x11", "x11", ("Go pprof",)),
    6379: Service("redis", None, ("Redis", "Valkey")),
    6432: Service("pgbouncer", None, ("PgBouncer",)),
    6443: Service("sun-sr-https", "sun-sr-https", ("Kubernetes API server",)),
    7000: Service("afs3-fileserver", "afs3-fileserver", ("Cassandra", "AirPlay Receiver (macOS)")),
    7474: Service("neo4j", None, ("Neo4j",)),
    7687: Service("bolt", None, ("Neo4j",)),
    8000: Service("irdmi", "irdmi", ("Django", "python -m http.server", "Uvicorn", "Laravel", "DynamoDB local")),
    8025: Service("ca-audit-da", "ca-audit-da", ("MailHog", "Mailpit")),
    8080: Service("http-alt", "http-alt", ("Tomcat", "Spring Boot", "Jenkins", "webpack-dev-server", "Keycloak")),
    8081: Service("sunproxyadmin", "sunproxyadmin", ("Metro", "Nexus Repository", "mongo-express")),
    8086: Service("d-s-n", "d-s-n", ("InfluxDB",)),
    8088: Service("radan-http", "radan-http", ("Hadoop YARN", "Apache Superset")),
    8200: Service("trivnet1", "trivnet1", ("Vault",)),
    8443: Service("pcsync-https", "pcsync-https", ("Tomcat", "Keycloak")),
    8500: Service("fmtp", "fmtp", ("Consul",)),
    8501: Service("cmtp-mgt", "cmtp-av", ("Streamlit",)),
    8787: Service("msgsrvr", "msgsrvr", ("Wrangler", "RStudio Server")),
    8883: Service("secure-mqtt", "secure-mqtt", ("Mosquitto",)),
    8888: Service("ddi-tcp-1", "ddi-udp-1", ("Jupyter",)),
    9000: Service("cslistener", "cslistener", ("PHP-FPM", "MinIO", "SonarQube", "ClickHouse", "Portainer")),
    9001: Service("etlservicemgr", "etlservicemgr", ("MinIO",)),
    9090: Service("websm", "websm", ("Prometheus", "Cockpit")),
    9092: Service("XmlIpcRegSvc", "XmlIpcRegSvc", ("Kafka",)),
    9093: Service("copycat", None, ("Prometheus Alertmanager",)),
    9100: Service("hp-pdl-datastr", "hp-pdl-datastr", ("Prometheus node exporter",)),
    9200: Service("wap-wsp", "wap-wsp", ("Elasticsearch", "OpenSearch")),
    9222: Service("teamcoherence", "teamcoherence", ("Chrome DevTools",)),
    9292: Service("armtechdaemon", "armtechdaemon", ("Rack", "Puma")),
    9300: Service("vrace", "vrace", ("Elasticsearch",)),
    9418: Service("git", "git", ("git daemon",)),
    9443: Service("tungsten-https", "tungsten-https", ("Portainer",)),
    10000: Service("ndmp", "ndmp", ("Webmin", "Azurite")),
    11211: Service("memcache", "memcache", ("memcached",)),
    26257: Service("cockroach", None, ("CockroachDB",)),
    27017: Service("mongodb", None, ("MongoDB",)),
    33060: Service("mysqlx", None, ("MySQL",)),
}

UNREGISTERED: dict[int, Service] = {
    4318: Service("otlp-http", None, ("OpenTelemetry",), "https://opentelemetry.io/docs/specs/otlp/"),
    5037: Service("adb", None, ("Android Debug Bridge",), "https://developer.android.com/tools/adb"),
    5173: Service("vite", None, ("Vite", "SvelteKit"), "https://vite.dev/config/server-options"),
    6333: Service("qdrant", None, ("Qdrant",), "https://qdrant.tech/documentation/guides/configuration/"),
    7077: Service("spark", None, ("Apache Spark",), "https://spark.apache.org/docs/latest/spark-standalone.html"),
    7860: Service("gradio", None, ("Gradio",), "https://www.gradio.app/docs/gradio/blocks"),
    8069: Service("odoo", None, ("Odoo",), "https://www.odoo.com/documentation/18.0/developer/reference/cli.html"),
    8123: Service(
        "clickhouse-http",
        None,
        ("ClickHouse", "Home Assistant"),
        "https://clickhouse.com/docs/guides/sre/network-ports",
    ),
    8125: Service(None, "statsd", ("StatsD", "Datadog Agent"), "https://docs.datadoghq.com/developers/dogstatsd/"),
    8529: Service(
        "arangodb", None, ("ArangoDB",), "https://docs.arangodb.com/stable/components/arangodb-server/options/"
    ),
    8545: Service(
        "eth-rpc", None, ("geth", "Hardhat", "Anvil"), "https://geth.ethereum.org/docs/interacting-with-geth/rpc"
    ),
    8983: Service("solr", None, ("Apache Solr",), "https://solr.apache.org/guide/solr/latest/getting-started/"),
    9042: Service("cassandra-cql", None, ("Cassandra", "ScyllaDB"), "https://cassandra.apache.org/doc/latest/"),
    9229: Service("node-inspect", None, ("Node.js debugger",), "https://nodejs.org/en/learn/getting-started/debugging"),
    9411: Service("zipkin", None, ("Zipkin",), "https://zipkin.io/pages/quickstart.html"),
    10250: Service(
        "kubelet", None, ("Kubernetes",), "https://kubernetes.io/docs/reference/networking/ports-and-protocols/"
    ),
    11434: Service("ollama", None, ("Ollama",), "https://docs.ollama.com/faq"),
    15672: Service("rabbitmq-ui", None, ("RabbitMQ",), "https://www.rabbitmq.com/docs/networking"),
    16686: Service("jaeger-ui", None, ("Jaeger",), "https://www.jaegertracing.io/docs/latest/getting-started/"),
    19530: Service("milvus", None, ("Milvus",), "https://milvus.io/docs/configure_proxy.md"),
    35729: Service("livereload", None, ("LiveReload",), "https://github.com/livereload/livereload-js"),
    50051: Service("grpc", None, ("gRPC examples",), "https://grpc.io/docs/languages/python/basics/"),
    51820: Service(None, "wireguard", ("WireGuard",), "https://www.wireguard.com/quickstart/"),
    61616: Service("openwire", None, ("ActiveMQ",), "https://activemq.apache.org/components/classic/documentation/"),
}

# ip-sysctl.rst; macOS: sysctl net.inet.ip.portrange; Windows: "The default dynamic port range for TCP/IP has changed".
EPHEMERAL_DEFAULTS = (
    f"the default is {LINUX_EPHEMERAL[0]}-{LINUX_EPHEMERAL[1]} on Linux, {DYNAMIC[0]}-{DYNAMIC[1]} on macOS and Windows"
)

_NOTHING = Service(None, None)


def service_of(port: int) -> Service:
    """Return what the tables say about a number; names None and no tools where they are silent."""
    return REGISTERED.get(port) or UNREGISTERED.get(port) or _NOTHING


def range_of(port: int) -> RangeName:
    """Return the class of a number: RFC 6335 section 6 (there: system, user, dynamic)."""
    if port <= WELL_KNOWN[1]:
        return "well-known"
    return "dynamic" if port >= DYNAMIC[0] else "registered"
