// What mastwatch wrote, as node-routeros reads it: CLIENT PORT USER PASSWORD.
const { RouterOSAPI } = require('node-routeros');

const [, port, user, password] = process.argv.slice(2);

async function main() {
    const api = new RouterOSAPI({ host: '127.0.0.1', port: Number(port), user, password, timeout: 5 });
    await api.connect();
    const only = async (path, query, names) => {
        const [row] = await api.write(path, ['=.proplist=' + names.join(','), query]);
        return Object.fromEntries(names.map((name) => [name, row[name]]));
    };
    const entry = ['comment', 'up-script', 'down-script'];
    const read = {
        ...await only('/tool/netwatch/print', '?host=10.9.9.9', entry),
        ...await only('/ppp/profile/print', '?name=default', ['on-up', 'on-down']),
        ...await only('/system/scheduler/print', '?name=mastwatch-parked', ['on-event']),
    };
    console.log(JSON.stringify(read));
    await api.close();
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
